"""`zaffre.connect()`: the unmodified MLClient, already pointed at a server. For notebooks and programs.

Scripts that shall run on Azure as well need none of it: run them with `zaffre run`.
"""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zaffre import profiles
from zaffre.profiles import ClientError, Profile
from zaffre.remote import Remote
from zaffre.settings import CLOUD_NAME
from zaffre.variables import mlflow_variables, pointed_at, trust_variables

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import AccessToken

_EARLY_S = 300
_clouds: dict[str, str] = {}


def connect(
    workspace: str | None = None,
    *,
    resource_group: str | None = None,
    subscription: str | None = None,
    home: str | os.PathLike[str] | None = None,
    profile: str | None = None,
    **options: Any,
) -> MLClient:
    """An `azure.ai.ml.MLClient` for a workspace of a running server; a workspace that is missing is made.

    The server is that of `home`, of the named `profile`, or, as the workspace, what `zaffre run` or `zaffre env` has
    told this process; otherwise as `zaffre env` finds it. `options` go to MLClient.
    Variables that the SDK, its storage clients, MLflow and child processes read are set where they are unset. Raises
    ClientError when the server does not run or azure-ai-ml is not installed.
    """
    found = _meant(Path(home) if home is not None else None, profile).at(subscription, resource_group, workspace)
    Remote(found).ensure_workspace()
    _set_variables(found)  # before the import, which reads some of them
    try:
        from azure.ai.ml import MLClient
    except ImportError as error:
        raise ClientError("azure-ai-ml is not installed; `pip install 'zaffre[sdk]'` brings it.") from error
    return MLClient(
        Credential(found),
        found.subscription,
        found.resource_group,
        found.workspace,
        cloud=_cloud_name(found.address),
        cloud_metadata=cloud_metadata(found.address),
        **options,
    )


def _meant(home: Path | None, profile: str | None) -> Profile:
    pointed = pointed_at() if home is None and profile is None else None
    if pointed is None:
        return profiles.require_running(profiles.resolve(home, profile))
    try:
        found = profiles.require_running(profiles.resolve())
    except ClientError:
        return pointed
    if found.address == pointed.address:  # its key may be another by now, which the variables of a shell do not know
        return found.at(pointed.subscription, pointed.resource_group, pointed.workspace)
    return found if os.environ.get("ZAFFRE_HOME") or os.environ.get("ZAFFRE_PROFILE") else pointed


class Credential:
    """Tokens from the server's managed-identity endpoint, for what azure-core calls a TokenCredential."""

    def __init__(self, profile: Profile) -> None:
        self._remote = Remote(profile)
        self._tokens: dict[str, AccessToken] = {}

    def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        """A token for the first scope, renewed five minutes before it expires."""
        from azure.core.credentials import AccessToken

        resource = scopes[0].removesuffix("/.default")
        known = self._tokens.get(resource)
        if known is None or known.expires_on - _EARLY_S <= time.time():
            self._tokens[resource] = known = AccessToken(*self._remote.token(resource))
        return known


def cloud_metadata(address: str) -> dict[str, str]:
    """The six facts MLClient wants of a cloud it does not know; then it never asks for the metadata document."""
    return {
        "azure_portal": "https://portal.azure.com",
        "resource_manager": address,
        "active_directory": address,
        "aml_resource_id": "https://ml.azure.com",
        "storage_endpoint": "core.windows.net",
        "registry_discovery_endpoint": f"{address}/",
    }


def _cloud_name(address: str) -> str:
    """The SDK never changes a cloud it has once been told of, so each further server needs a name of its own."""
    if address not in _clouds:
        _clouds[address] = CLOUD_NAME if not _clouds else f"{CLOUD_NAME}-{len(_clouds) + 1}"
    return _clouds[address]


def _set_variables(profile: Profile) -> None:
    for name, value in trust_variables(profile).items():
        present = os.environ.get(name)
        if present is None or present == value or _holds(Path(value), _text(Path(present))):
            os.environ[name] = value  # ours holds what theirs does, and our authority
        elif not _holds(Path(present), _authority(Path(value))):
            warnings.warn(
                f"{name} is {present}, which does not hold Zaffre's authority: requests will fail. Start Zaffre with "
                f"that variable set, which adds those roots to its own bundle, or set it to {value}.",
                stacklevel=3,
            )
    # The SDK sets AZUREML_CURRENT_CLOUD; a child process can make something of that name only with this beside it.
    os.environ.setdefault("ARM_CLOUD_METADATA_URL", f"{profile.address}/metadata/endpoints")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ.update(mlflow_variables(profile))


def _authority(bundle: Path) -> str:
    """The first certificate of our bundle is our authority's."""
    return _text(bundle).partition("-----END CERTIFICATE-----")[0].partition("-----BEGIN CERTIFICATE-----")[2]


def _holds(bundle: Path, certificates: str) -> bool:
    return bool(certificates.strip()) and certificates.strip() in _text(bundle)


def _text(path: Path) -> str:
    """A folder of hashed roots, or a file that is gone, holds nothing we could compare."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

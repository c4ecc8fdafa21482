"""The environment variables that point unmodified clients at a server: `zaffre env` prints them, `zaffre run` sets them."""

from __future__ import annotations

import os
from urllib.parse import quote

from zaffre.profiles import Profile
from zaffre.settings import CLOUD_NAME

_TOKENS = "/msi/token"


def client_variables(profile: Profile) -> dict[str, str]:
    """Everything azure-ai-ml, azure-identity, mlflow, azureml-mlflow and `requests` read, for the profile's workspace."""
    address = profile.address
    return {
        "ARM_CLOUD_METADATA_URL": f"{address}/metadata/endpoints",
        "AZUREML_CURRENT_CLOUD": CLOUD_NAME,
        **trust_variables(profile),
        "IDENTITY_ENDPOINT": f"{address}{_TOKENS}",
        "IDENTITY_HEADER": profile.api_key,
        **mlflow_variables(profile),
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{address}/",
        "AZURE_SUBSCRIPTION_ID": profile.subscription,
        "AZURE_RESOURCE_GROUP": profile.resource_group,
        "AZUREML_WORKSPACE": profile.workspace,
    }


def pointed_at() -> Profile | None:
    """The server and the workspace that this process's own variables name, when they are those of `client_variables`."""
    address, header = os.environ.get("IDENTITY_ENDPOINT", ""), os.environ.get("IDENTITY_HEADER")
    names = [os.environ.get(name) for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE")]
    bundle, origin = os.environ.get("REQUESTS_CA_BUNDLE"), address.removesuffix(_TOKENS)
    ours = os.environ.get("ARM_CLOUD_METADATA_URL") == f"{origin}/metadata/endpoints" and origin != address
    if not (ours and header and bundle and all(names)):
        return None
    return Profile(address=origin, bundle=bundle, api_key=header).at(*names)


def trust_variables(profile: Profile) -> dict[str, str]:
    """What `requests`, httpx and OpenSSL take their roots from."""
    return {"REQUESTS_CA_BUNDLE": profile.bundle, "SSL_CERT_FILE": profile.bundle}


def mlflow_variables(profile: Profile) -> dict[str, str]:
    """MLflow never renews a token, and a shell outlives an hour: it gets the API key, which every route takes."""
    return {
        "MLFLOW_TRACKING_URI": f"{profile.address}/tracking{quote(profile.scope)}",
        "MLFLOW_TRACKING_TOKEN": profile.api_key,
    }

"""Registries. There is one so far: `azureml`, read-only, whose only assets are the curated environments that can be had here."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from zaffre.errors import Denied, InvalidInput, NotFound
from zaffre.services.kinds.base import Document

AZUREML = "azureml"
KINDS = ("environments", "components", "models", "data", "codes")
PREFIX = "AzureML-"  # what a curated environment's name begins with where it is named in a workspace
LATEST = "latest"
SINCE_MS = 1_764_547_200_000  # 2025-12-01: rows of a table have no time of their own
BY = "Zaffre"

_ASSET = re.compile(
    r"(?:azureml:)?azureml://registries/(?P<r>[^/]+)/(?P<kind>[^/]+)/(?P<n>[^/]+)/(?P<by>versions|labels)/(?P<v>[^/]+)",
    re.IGNORECASE,
)
_IN_WORKSPACE = re.compile(
    r"(?:azureml:)?/subscriptions/.+/environments/(?P<n>AzureML-[^/]+)/(?P<by>versions|labels)/(?P<v>[^/]+)",
    re.IGNORECASE,
)
_SHORT = re.compile(r"(?:azureml:)?(?P<n>AzureML-[A-Za-z0-9._-]+)(?:(?P<by>[:@])(?P<v>[A-Za-z0-9._-]+))?")


class Curated(msgspec.Struct, frozen=True, kw_only=True):
    """A curated environment: its name without `AzureML-`, its newest version and what it is made of."""

    name: str
    version: str
    python: str
    requirements: tuple[str, ...]

    def properties(self, version: str) -> Document:
        """A version as ARM has it. A number that is not ours is one of Azure's images, for which our recipe stands."""
        made: Document = {
            "description": f"Python {self.python} with {', '.join(self.requirements)}.",
            "tags": {},
            "properties": {"zaffre.recipe": self.version},
            "isArchived": False,
            "isAnonymous": False,
            "image": f"mcr.microsoft.com/azureml/curated/{self.name}:{version}",
            "condaFile": None,
            "osType": "Linux",
            "environmentType": "Curated",
        }
        if self.name.endswith("-inference"):
            health = {"path": "/", "port": 5001}
            made["inferenceConfig"] = {
                "livenessRoute": health,
                "readinessRoute": health,
                "scoringRoute": {"path": "/score", "port": 5001},
            }
        return made


class Registries:
    """What the one registry holds."""

    def __init__(self, curated: Sequence[Curated]) -> None:
        self._curated = {one.name.lower(): one for one in curated}

    @staticmethod
    def check(registry: str, kind: str = "environments") -> None:
        """Raise NotFound for a registry or a type of asset that is not here."""
        if registry.lower() != AZUREML:
            raise NotFound(
                f"There is no registry '{registry[:100]}' on this server; it has '{AZUREML}', which holds the curated environments.",
                code="RegistryNotFound",
            )
        if kind not in KINDS:
            raise NotFound(f"A registry has no '{kind[:100]}'; it has {', '.join(KINDS)}.", code="InvalidResourceType")

    @staticmethod
    def refuse(registry: str) -> Denied:
        """What every change is answered."""
        Registries.check(registry)
        return Denied(
            f"The registry '{AZUREML}' is read-only. Create the asset in a workspace.", code="RegistryReadOnly"
        )

    def all(self, kind: str) -> list[Curated]:
        """The assets of a type."""
        return list(self._curated.values()) if kind == "environments" else []

    def get(self, kind: str, name: str) -> Curated:
        """One asset; environments also by their name in a workspace, `AzureML-…`. Raises NotFound."""
        bare = name.lower().removeprefix(PREFIX.lower())
        if kind != "environments" or bare not in self._curated:
            known = f" It has {', '.join(self._curated)}." if kind == "environments" else f" It has no {kind}."
            raise NotFound(f"There is no {kind.rstrip('s')} '{name[:100]}' in the registry '{AZUREML}'.{known}")
        return self._curated[bare]

    def version(self, kind: str, name: str, version: str) -> tuple[Curated, str]:
        """One version, by its number or as `latest`."""
        found = self.get(kind, name)
        if version.lower() == LATEST:
            return found, found.version
        check_version(name, version)
        return found, version


def curated_reference(text: str, field: str) -> str | None:
    """The curated environment that a job or a deployment names, in any of the ways; None for another environment.

    Raises NotFound or InvalidInput that name `field` for a registry, a type or a version that cannot be meant.
    """
    if match := _ASSET.fullmatch(text):
        try:
            Registries.check(match["r"], match["kind"].lower())
        except NotFound as error:
            raise NotFound(f"Field '{field}': {error.message}", target=field) from None
        if match["kind"].lower() != "environments":
            raise InvalidInput(f"Field '{field}': '{text[:200]}' is no environment.", code="InvalidField", target=field)
    else:
        match = _IN_WORKSPACE.fullmatch(text) or _SHORT.fullmatch(text)
    if match is None:
        return None
    version = match["v"]
    if version is not None and not (match["by"].lower() in ("labels", "@") and version.lower() == LATEST):
        check_version(match["n"], version, field)
    return str(match["n"])


def refuse_asset(text: str, field: str) -> None:
    """Raise an error that says why, when `text` names data or a model in a registry: there are none in any."""
    match = _ASSET.fullmatch(text)
    if match is None:
        return
    try:
        Registries.check(match["r"], match["kind"].lower())
    except NotFound as error:
        raise NotFound(f"Field '{field}': {error.message}", target=field) from None
    if match["kind"].lower() == "environments":
        raise InvalidInput(
            f"Field '{field}': '{text[:200]}' is an environment, no data or model.", code="InvalidField", target=field
        )
    raise NotFound(
        f"Field '{field}': there are no {match['kind'].lower()} in the registry '{AZUREML}' of this server, so no "
        f"'{match['n'][:100]}' either; it holds environments only. Register the asset in the workspace.",
        target=field,
    )


def is_curated(name: str) -> bool:
    """Whether an environment of a workspace is one that nobody may make: the names with this prefix are Azure ML's."""
    return name.lower().startswith(PREFIX.lower())


def check_version(name: str, version: str, field: str = "") -> None:
    """Raise NotFound unless `version` may be one of a curated environment: Azure ML numbers them."""
    if not re.fullmatch(r"[1-9][0-9]{0,5}", version):
        where = f"Field '{field}': " if field else ""
        raise NotFound(
            f"{where}The curated environment '{name[:100]}' has no version '{version[:100]}'; expected a number, or {LATEST} as label.",
            target=field or None,
        )

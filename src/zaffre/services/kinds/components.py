"""Components: steps of pipelines. The spec is the author's own document; we check what every reader of one relies on."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from zaffre.services.kinds.base import MUTABLE, VERSION, Document, Kind, Show, check, refused
from zaffre.services.kinds.containers import Version, container, container_state, version_defaults, version_state
from zaffre.store.resources import Row

DEFAULT = "azureml_default"  # how the SDK asks for the version labelled `default` (wire.md §12.20)
ANONYMOUS = "azureml_anonymous"
TYPES = (
    "command", "pipeline", "parallel", "spark", "sweep", "automl", "import", "data_transfer", "promptflow_parallel",
)  # fmt: skip
# What a new PUT of the same version may say differently: it describes the component and changes nothing that runs.
_DESCRIBES = ("$schema", "_source", "description", "display_name", "id", "name", "tags", "version")
# Types of the SDK's own internal components, which carry a contract of theirs: `CommandComponent@1-legacy`, `scope`.
_INTERNAL = re.compile(
    r"[A-Z][A-Za-z0-9]*Component(@[A-Za-z0-9.-]+)?|scope|hdinsight|hemera|starlite|ae365exepool|aetherbridge"
)
_PORT = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,254}")
_BINDING = re.compile(r"\$\{\{\s*(?P<side>inputs|outputs)\.(?P<name>[A-Za-z_][A-Za-z0-9_]*)[^}]{0,500}\}\}")


class ComponentVersion(Version, rename="camel", kw_only=True):
    component_spec: dict[str, Any]


class Input(msgspec.Struct, kw_only=True):
    type: str | list[str]
    optional: bool | None = None
    description: str | None = None
    mode: str | None = None
    enum: list[Any] | None = None


class Output(msgspec.Struct, kw_only=True):
    type: str | list[str]
    description: str | None = None
    mode: str | None = None


class Resources(msgspec.Struct, kw_only=True):
    instance_count: int | str | None = None
    instance_type: str | list[str] | None = None
    shm_size: str | None = None
    docker_args: str | list[str] | None = None
    properties: dict[str, Any] | None = None


class Spec(msgspec.Struct, kw_only=True):
    """What every spec has, whatever its type. The rest of it is its type's business and kept as it came."""

    type: str | None = None
    name: str | None = None
    version: str | int | float | None = None
    display_name: str | None = None
    description: str | None = None
    tags: dict[str, Any] | None = None
    is_deterministic: bool | None = None
    inputs: dict[str, Input] | None = None
    outputs: dict[str, Output] | None = None


class CommandSpec(Spec, kw_only=True):
    command: str
    code: str | None = None
    environment: str | dict[str, Any] | None = None
    environment_variables: dict[str, str] | None = None
    resources: Resources | None = None
    distribution: dict[str, Any] | None = None


class PipelineSpec(Spec, kw_only=True):
    jobs: dict[str, dict[str, Any]] | None = None
    source_job_id: str | None = None


_SPECS: dict[str, type[Spec]] = {"command": CommandSpec, "pipeline": PipelineSpec}
_SPEC = "properties.componentSpec"
_IMPORT = "import"  # the SDK writes an import component as this command, its source and target as inputs and outputs


def _complete(properties: Document) -> Document:
    given = properties["componentSpec"]
    if given.get("command") == _IMPORT:
        given = {name: value for name, value in given.items() if name not in ("inputs", "outputs")}
    check(given, Spec, _SPEC)
    kind = given.get("type") or "command"
    if kind not in TYPES and not _INTERNAL.fullmatch(kind):
        raise refused(f"{_SPEC}.type", f"'{kind[:100]}' is not one of {', '.join(TYPES)}.")
    check(given, _SPECS.get(kind, Spec), _SPEC)
    spec = {**properties["componentSpec"], "type": kind}
    for side in ("inputs", "outputs"):
        for name in given.get(side) or {}:
            if not _PORT.fullmatch(name):
                raise refused(
                    f"{_SPEC}.{side}", f"'{name[:100]}' is not a valid name; expected letters, digits and '_'."
                )
    if given.get("inputs"):
        spec["inputs"] = {
            name: {**value, "optional": bool(value.get("optional"))} for name, value in given["inputs"].items()
        }
    if kind == "command":
        _check_command(given)
        spec["resources"] = {"instance_count": 1, **_without_nulls(given.get("resources"))}
    completed = version_defaults(properties)
    # The spec's own words come first: the SDK reads them there, and older versions of it send them only there.
    completed["description"] = given.get("description", properties.get("description"))
    return {**completed, "componentSpec": spec}


def _check_command(spec: Document) -> None:
    if not spec["command"].strip():
        raise refused(f"{_SPEC}.command", "expected a command, got an empty text.")
    for match in _BINDING.finditer(spec["command"]):
        if match["name"] not in (spec.get(match["side"]) or {}):
            raise refused(
                f"{_SPEC}.command", f"it names '{match['side']}.{match['name']}', which the component has not."
            )
    count = (spec.get("resources") or {}).get("instance_count")
    if count is not None and not re.fullmatch(r"[1-9][0-9]{0,5}|\$\{\{.*\}\}", str(count)):
        raise refused(f"{_SPEC}.resources.instance_count", f"'{count}'; expected a number from 1 on.")


def _addressed(properties: Document, parent: str, name: str) -> Document:
    """An anonymous component keeps the name its author gave it; any other is called what its address says."""
    spec = properties["componentSpec"]
    own = spec.get("name") if parent.lower() == ANONYMOUS else None
    given = spec.get("version")
    version = str(given) if given is not None and parent.lower() == ANONYMOUS else name
    return {**properties, "componentSpec": {**spec, "name": own or parent, "version": version}}


def _identity(properties: Document) -> Any:
    return {name: value for name, value in properties["componentSpec"].items() if name not in _DESCRIBES}


def _container_state(row: Row, show: Show) -> Document:
    """The next version of a component is a time stamp, in the service's own form; its first one, which no row has, is 1."""
    stamp = datetime.fromtimestamp(show.now / 1000, UTC)
    return {**container_state(row, show), "nextVersion": f"{stamp:%Y-%m-%d-%H-%M-%S}-{stamp.microsecond:06d}0"}


def _without_nulls(found: Document | None) -> Document:
    return {name: value for name, value in (found or {}).items() if value is not None}


KINDS = (
    container("workspaces/components", _container_state, unlisted=(ANONYMOUS,)),
    Kind(
        type="workspaces/components/versions",
        properties=ComponentVersion,
        name=VERSION,
        complete=_complete,
        addressed=_addressed,
        identity=_identity,
        extra=version_state,
        mutable=(*MUTABLE, "componentSpec"),
        labels={DEFAULT: "default"},
    ),
)

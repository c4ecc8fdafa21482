"""What a kind says of itself. Data and pure functions: no database, no request, no clock."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Type  # noqa: UP035  (`type` is a field of Kind)

import msgspec

from zaffre.errors import InvalidInput
from zaffre.services.workspaces import Workspace
from zaffre.store.resources import Row

Document = dict[str, Any]

ASSET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
RESOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")


# What a later PUT of a version may change; the rest of it never does.
MUTABLE = ("description", "tags", "stage", "isArchived")
# Clients send back what they were answered.
READ_ONLY = ("provisioningState", "latestVersion", "nextVersion")

# Clients send numbers and flags where the contract has texts; the service keeps the text.
Texts = dict[str, str | int | float | bool | None]


class Show(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer needs beside the row: where it lives, under which address and when it was asked, its newest version."""

    workspace: Workspace
    address: str
    latest: str | None = None
    now: int = 0


def as_it_is(properties: Document) -> Document:
    return properties


def nothing_more(_row: Row, _show: Show) -> Document:
    return {}


def as_addressed(properties: Document, _parent: str, _name: str) -> Document:
    return properties


def no_secrets(body: Document) -> tuple[dict[str, str], Document]:
    return {}, body


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One ARM resource type.

    `properties` is the struct the client's `properties` must fit; fields it does not name are kept as they came.
    `complete` returns the properties with defaults and the contract's spelling filled in, and raises InvalidInput for what
    the struct cannot say; `addressed` adds what the address says, the parent's name and its own.
    `identity` returns the part of a version that may never change, `mutable` names what a later PUT may change;
    `kept` names what a later PUT of another resource may leave out and not lose.
    `extra` is added to the properties on the way out; `hide` is taken from them.
    `take_secrets` parts the secrets from a body: they go to the vault under the names it gives them, never into a row.
    `unlisted` are names that lists pass over unless everything is asked for.
    `labels` are versions that are none: asking for one answers the newest, under that label.
    `active` kinds are brought to life by a controller, which moves them from Creating or Updating to Succeeded or Failed.
    `made_status` is what a PUT that made one answers.
    """

    type: str
    properties: Type[msgspec.Struct]  # noqa: UP006
    name: re.Pattern[str] = ASSET_NAME
    complete: Callable[[Document], Document] = as_it_is
    addressed: Callable[[Document, str, str], Document] = as_addressed
    identity: Callable[[Document], Any] | None = None
    extra: Callable[[Row, Show], Document] = nothing_more
    hide: tuple[str, ...] = ()
    take_secrets: Callable[[Document], tuple[dict[str, str], Document]] = no_secrets
    mutable: tuple[str, ...] = MUTABLE
    kept: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    tracked: bool = False
    active: bool = False
    versioned: bool = False
    made_status: int = 201

    @property
    def segment(self) -> str:
        return self.type.rpartition("/")[2]

    def check_name(self, name: str) -> None:
        """Raise InvalidInput unless `name` may name a resource of this kind."""
        if not self.name.fullmatch(name) or name.lower() in self.labels:
            what = "version" if self.segment == "versions" else "name"
            raise InvalidInput(
                f"'{name[:100]}' is not a valid {what} for {self.type}; expected {_describe(self.name)}.",
                code="InvalidName",
                target=what,
            )

    def accept(self, body: Document) -> Document:
        """The body as it is kept: checked, with defaults. Raises InvalidInput that names the field."""
        properties = body.get("properties")
        if properties is None:
            properties = {}
        if not isinstance(properties, dict):
            raise InvalidInput("Field 'properties': expected an object.", code="InvalidField", target="properties")
        check(properties, self.properties, "properties")
        check(body, _Envelope, "")
        given = {name: value for name, value in properties.items() if name not in READ_ONLY}
        kept = {**body, "properties": self.complete(given)}
        if "tags" in kept:
            kept["tags"] = texts(kept["tags"])
        for name in ("id", "name", "type", "systemData"):
            kept.pop(name, None)
        return kept

    def fingerprint(self, body: Document) -> str:
        """A hash of the part of a version that may never change."""
        if self.identity is None:
            return ""
        part = self.identity(body["properties"])
        return (
            part
            if isinstance(part, str)
            else hashlib.sha256(msgspec.json.encode(part, order="deterministic")).hexdigest()
        )


class _Envelope(msgspec.Struct, kw_only=True, rename="camel"):
    location: str | None = None
    tags: Texts | None = None
    kind: str | None = None
    identity: dict[str, Any] | None = None
    sku: dict[str, Any] | None = None


def check(value: Any, type_: type[msgspec.Struct], where: str) -> None:
    """Raise InvalidInput, with the field's full name, unless `value` fits `type_`."""
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at ")
        field = (where + path.strip("`").removeprefix("$")).strip(".")
        raise InvalidInput(
            f"Field '{field}': {text[:1].lower()}{text[1:].replace('`', chr(39))}.", code="InvalidField", target=field
        ) from None


def texts(given: Document | None) -> dict[str, str]:
    """Tags or properties as they are kept: every value a text, as JSON writes it; a null is an empty one."""
    return {name: text_of(value) for name, value in (given or {}).items()}


def text_of(value: Any) -> str:
    """A value as a text, as JSON writes it; a null is an empty one."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def refused(field_: str, why: str) -> InvalidInput:
    """The error for a field that its struct fits but that cannot be; `why` says what is wrong and what was expected."""
    return InvalidInput(f"Field '{field_}': {why}", code="InvalidField", target=field_)


def spelled(value: str, words: tuple[str, ...], field: str) -> str:
    """`value` in the contract's own spelling; clients write some of these words in another case."""
    for word in words:
        if word.lower().replace("_", "") == value.lower().replace("_", ""):
            return word
    raise refused(field, f"'{value[:100]}' is not one of {', '.join(words)}.")


def _describe(pattern: re.Pattern[str]) -> str:
    if pattern in (ASSET_NAME, VERSION):
        return "1 to 255 letters, digits, '.', '_' or '-', the first a letter or digit"
    return f"the form {pattern.pattern}"

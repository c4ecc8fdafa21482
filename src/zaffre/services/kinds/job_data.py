"""A job's inputs and outputs: their types, modes and defaults."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotServed
from zaffre.services.kinds.base import ASSET_NAME, VERSION, Document, spelled, text_of

DATA_TYPES = ("uri_file", "uri_folder", "mltable")
MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")
TYPES = (*DATA_TYPES, *MODEL_TYPES)
INPUT_MODES = ("ReadOnlyMount", "ReadWriteMount", "Download", "Direct", "EvalMount", "EvalDownload")
OUTPUT_MODES = ("ReadWriteMount", "Upload", "Direct")
WRITABLE, DIRECT, EVALUATED = "ReadWriteMount", "Direct", ("EvalMount", "EvalDownload")


class Input(msgspec.Struct, rename="camel", kw_only=True):
    job_input_type: str
    value: str | int | float | bool | None = None
    uri: str | None = None
    mode: str | None = None
    description: str | None = None
    path_on_compute: str | None = None


class Output(msgspec.Struct, rename="camel", kw_only=True):
    job_output_type: str
    uri: str | None = None
    mode: str | None = None
    asset_name: str | None = None
    asset_version: str | None = None
    auto_delete_setting: dict[str, Any] | None = None
    description: str | None = None
    path_on_compute: str | None = None


def asset_kind(output: Document) -> str:
    """The kind of asset an output of that type becomes."""
    return f"workspaces/{'models' if output['jobOutputType'] in MODEL_TYPES else 'data'}/versions"


def is_absent(name: str, given: Document) -> bool:
    """Whether an input is an optional one that was given no value: the SDK sends a literal null, which Azure never answers."""
    _check_name(name, "properties.inputs")
    return given["jobInputType"].lower() == "literal" and given.get("value") is None


def complete_input(name: str, given: Document) -> Document:
    """An input as it is kept. One that is not literal gets the mode the service fills in (wire.md §12.19)."""
    field = f"properties.inputs.{name}"
    kind = given["jobInputType"].lower()
    if kind == "literal":
        return {**given, "jobInputType": kind, "value": text_of(given["value"])}
    if kind not in TYPES:
        raise _wrong(f"{field}.jobInputType", f"'{given['jobInputType']}' is not one of literal, {', '.join(TYPES)}.")
    if not given.get("uri"):
        raise _wrong(f"{field}.uri", "expected the place of the data.")
    _refuse_path(given, field)
    mode = spelled(given.get("mode") or "ReadOnlyMount", INPUT_MODES, f"{field}.mode")
    if mode in EVALUATED and kind != "mltable":
        raise _wrong(f"{field}.mode", f"{mode} evaluates a table; a {kind} has none. Use ReadOnlyMount or Download.")
    return {**given, "jobInputType": kind, "uri": given["uri"].strip(), "mode": mode}


def complete_output(name: str, given: Document) -> Document:
    """An output as it is kept; `assetName` has it registered when the job completes."""
    field = f"properties.outputs.{name}"
    _check_name(name, "properties.outputs")
    kind = given["jobOutputType"].lower()
    if kind not in TYPES:
        raise _wrong(f"{field}.jobOutputType", f"'{given['jobOutputType']}' is not one of {', '.join(TYPES)}.")
    _refuse_path(given, field)
    for part, pattern in (("assetName", ASSET_NAME), ("assetVersion", VERSION)):
        if given.get(part) and not pattern.fullmatch(given[part]):
            words = "1 to 255 letters, digits, '.', '_' or '-', the first a letter or digit"
            raise _wrong(f"{field}.{part}", f"'{given[part][:100]}' is not valid; expected {words}.")
    if given.get("assetVersion") and not given.get("assetName"):
        raise _wrong(f"{field}.assetVersion", "a version without 'assetName'; name the asset the output becomes.")
    mode = spelled(given.get("mode") or "ReadWriteMount", OUTPUT_MODES, f"{field}.mode")
    return {**given, "jobOutputType": kind, "mode": mode}


def _refuse_path(given: Document, field: str) -> None:
    if given.get("pathOnCompute"):
        raise NotServed(
            f"Field '{field}.pathOnCompute': a path of one's own choice is not served; the job is told where its data lies "
            "by ${{inputs.NAME}} and ${{outputs.NAME}}.",
            target=f"{field}.pathOnCompute",
        )


def _check_name(name: str, field: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", name):
        raise _wrong(field, f"'{name[:100]}' is not a valid name; expected letters, digits and '_'.")


def _wrong(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"Field '{field}': {message}", code="InvalidField", target=field)

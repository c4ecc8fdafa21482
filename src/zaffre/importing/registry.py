"""Registered models: versions under their own numbers, on the files that were imported with their runs, then what names them.

MLflow keeps prompts as models without files.
"""

from __future__ import annotations

import re
from typing import Any

from zaffre.importing import journal
from zaffre.importing.files import Files
from zaffre.importing.report import CHANGED, NEW, SAME, Report
from zaffre.importing.source import Source, SourceError, of_name
from zaffre.importing.target import Target, TargetError
from zaffre.profiles import ClientError

READY = "READY"
_LOGGED = re.compile(r"models:/(m-[0-9a-f]{32})(?:/|\Z)")
UPLOADS = "LocalUpload"
"""Where files of versions go that no run of this server holds; Azure ML's own word for what a client sent."""


PROMPT_TAG = "mlflow.prompt.is_prompt"
PROMPT_URI = "prompt-template"


class LeftOut(Exception):
    """A version that was not asked for."""


class Registry:
    """Of models or of prompts."""

    def __init__(
        self, source: Source, target: Target, files: Files, report: Report, *, prompts: bool, again: bool
    ) -> None:
        self._source, self._target, self._files, self._report = source, target, files, report
        self.prompts, self._again = prompts, again
        self.thing, self._part = ("prompt", "prompt version") if prompts else ("registered model", "model version")

    def bring(self, model: Any) -> None:
        """One model with its versions; a version that fails is reported, the others go on. Raises ClientError for the model."""
        here = self._here(model.name)
        if here is not None and (PROMPT_TAG in _tags(here)) != self.prompts:
            raise TargetError(f"its name is that of a {'model' if self.prompts else 'prompt'} here", 409)
        versions = sorted(self._source.versions(model.name, prompts=self.prompts), key=lambda one: int(one.version))
        held = {one["version"]: _tags(one) for one in self._versions_here(model.name)} if here else {}
        aliases = {alias: str(version) for alias, version in (getattr(model, "aliases", None) or {}).items()}
        state = journal.digest(model.description or "", model.tags, aliases, model.last_updated_timestamp)
        if here is None and not self._report.dry:
            self._put(model, {}, None)
        arrived = {one.version for one in versions if self._version(one, held.get(str(one.version)))}
        if here is not None and _tags(here).get(journal.STATE) == state and not self._again:
            self._report.count(self.thing, SAME)
            return
        if not self._report.dry:
            lacking = {
                alias: version for alias, version in aliases.items() if version not in {str(one) for one in arrived}
            }
            kept = {alias: version for alias, version in aliases.items() if alias not in lacking}
            self._put(model, kept, None if lacking else state)
        self._report.count(self.thing, NEW if here is None else CHANGED)

    def _put(self, model: Any, aliases: dict[str, str], state: str | None) -> None:
        tags = self._tagged(model.tags)
        given = {
            "name": model.name,
            "description": model.description or None,
            "creation_timestamp": model.creation_timestamp,
            "last_updated_timestamp": model.last_updated_timestamp,
            "tags": tags | ({journal.STATE: state} if state else {}),
            "aliases": aliases,
        }
        self._target.put("registered-models", {key: value for key, value in given.items() if value is not None})

    def _version(self, version: Any, held: dict[str, str] | None) -> bool:
        """Whether the version is here now."""
        name = f"{version.name}/{version.version}"
        try:
            if version.status != READY:
                self._report.note(f"{self._part} {name} is {version.status} there; it is left out")
                return False
            head = [
                version.source,
                version.run_id or "",
                version.description or "",
                version.current_stage or "None",
                version.last_updated_timestamp,
            ]
            state = journal.digest(head, version.tags)
            if held is not None and held.get(journal.STATE) == state and not self._again:
                self._report.count(self._part, SAME)
                return True
            if not self._report.dry:
                self._put_version(version, state)
            self._report.count(self._part, NEW if not held else CHANGED)
        except LeftOut as error:
            self._report.note(f"{self._part} {name} is left out: {error}")
            return False
        except ClientError as error:
            if isinstance(error, TargetError) and error.hopeless:
                raise
            self._report.fail(self._part, name, error)
            return False
        return True

    def _put_version(self, version: Any, state: str) -> None:
        place = self._place(version)
        run_id = journal.run_id(version.run_id) if version.run_id else None
        given = {
            "name": version.name,
            "version": str(version.version),
            "source": place,
            "run_id": run_id,
            "run_link": version.run_link or None,
            "model_id": _model_id(version),
            "description": version.description or None,
            "current_stage": version.current_stage or "None",
            "user_id": version.user_id or "",
            "creation_timestamp": version.creation_timestamp,
            "last_updated_timestamp": version.last_updated_timestamp,
            "tags": self._tagged(version.tags) | {journal.STATE: state},
        }
        self._target.put("model-versions", {key: value for key, value in given.items() if value is not None})

    def _tagged(self, tags: dict[str, str]) -> dict[str, str]:
        """With what MLflow's client does not show of a prompt: that it is one."""
        return journal.tags(tags, self._source.name, "", "") | ({PROMPT_TAG: "true"} if self.prompts else {})

    def _place(self, version: Any) -> str:
        """Where the version's files are here: with its run or its logged model, or else they are brought now. A prompt has none."""
        if self.prompts:
            return str(version.source or PROMPT_URI)
        uri = self._source.download_uri(version).rstrip("/")
        if found := self._with_model(version, uri) or self._with_run(version, uri):
            return found
        files = self._files.listing(uri)
        if not self._files.wanted:
            raise LeftOut("its files are not here")
        if not files.entries:
            raise SourceError(f"there are no files at {version.source}")
        # The folder is named by where it came from: the same again goes to the same place.
        folder = f"{UPLOADS}/{journal.digest(uri)}/{uri.rpartition('/')[2] or 'model'}"
        self._files.bring(files, folder, again=self._again)
        return f"mlflow-artifacts:/{folder}"

    def _with_model(self, version: Any, uri: str) -> str | None:
        model_id = _model_id(version)
        if model_id is None:
            return None
        model = self._source.logged_model(model_id)
        below = None if model is None else _below(uri, model.artifact_location)
        if below is None or not self._target.folder(f"ExperimentRun/dcid.{model_id}/{below}".rstrip("/")):
            return None
        if self._target.find(f"logged-models/{model_id}") is None:
            return None
        return f"models:/{model_id}/{below}".rstrip("/")

    def _with_run(self, version: Any, uri: str) -> str | None:
        run = self._source.run(version.run_id) if version.run_id else None
        below = None if run is None else _below(uri, run.info.artifact_uri)
        here = journal.run_id(version.run_id) if version.run_id else ""
        if not below or self._target.find("runs/get", run_id=here) is None:
            return None
        base = f"ExperimentRun/dcid.{here}/{below}"
        if not self._target.folder(base):  # a run may have been imported without its files
            return None
        return f"runs:/{here}/{below}"

    def _here(self, name: str) -> dict[str, Any] | None:
        found = self._target.find("registered-models/get", name=name)
        return None if found is None else found["registered_model"]

    def _versions_here(self, name: str) -> list[dict[str, Any]]:
        wish = {"filter": of_name(name, prompts=self.prompts), "max_results": "10000"}
        found: list[dict[str, Any]] = self._target.get("model-versions/search", **wish).get("model_versions", [])
        return found


def _model_id(version: Any) -> str | None:
    """The logged model a version was made of. Databases say it in the source only."""
    named = _LOGGED.match(version.source or "")
    return getattr(version, "model_id", None) or (named[1] if named else None)


def _tags(one: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in one.get("tags", ())}


def _below(uri: str, folder: str) -> str | None:
    """The path of `uri` below `folder`; None when it does not lie there."""
    folder = folder.rstrip("/")
    uri, folder = uri.removeprefix("file://"), folder.removeprefix("file://")
    if uri == folder:
        return ""
    return uri.removeprefix(f"{folder}/") if uri.startswith(f"{folder}/") else None

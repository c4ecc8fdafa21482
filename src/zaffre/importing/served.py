"""Files that lie on the disk of an MLflow server, and not on this machine: the server gives them out to its own pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from mlflow.exceptions import MlflowException
from mlflow.utils import rest_utils

BLOCK = 1024 * 1024


class File(msgspec.Struct, frozen=True):
    """In the fields of MLflow's own FileInfo; a folder has no size."""

    path: str
    is_dir: bool
    file_size: int | None


class ServedFiles:
    """Of a run. With the two methods of MLflow's own repositories that an import uses."""

    def __init__(self, store: Any, run_id: str) -> None:
        """`store` is MLflow's client of the server: it knows the address and the credentials."""
        self._credentials, self._run_id = store.get_host_creds, run_id

    def list_artifacts(self, path: str | None = None) -> list[File]:
        """Raises MlflowException."""
        found: list[File] = []
        token: str | None = None
        while True:
            query = {"run_id": self._run_id, "path": path, "page_token": token}
            answer = self._get("/api/2.0/mlflow/artifacts/list", query).json()
            found += [_described(one) for one in answer.get("files", ())]
            token = answer.get("next_page_token")
            if not token:
                return found

    def download_artifacts(self, path: str, folder: str) -> str:
        """The path of the copy, which lies in `folder`. Raises MlflowException."""
        copy = Path(folder) / "file"
        with (
            self._get("/get-artifact", {"run_uuid": self._run_id, "path": path}, stream=True) as answer,
            copy.open("wb") as to,
        ):
            answer.raw.decode_content = True
            shutil.copyfileobj(answer.raw, to, BLOCK)
        return str(copy)

    def _get(self, endpoint: str, query: dict[str, str | None], **options: Any) -> Any:
        return _asked(self._credentials, f"run {self._run_id}", endpoint, query, **options)


def trace_document(store: Any, trace_id: str) -> dict[str, Any]:
    """The spans of a trace as MLflow's file has them. Raises MlflowException."""
    endpoint, query = "/ajax-api/2.0/mlflow/get-trace-artifact", {"request_id": trace_id}
    found: dict[str, Any] = _asked(store.get_host_creds, f"trace {trace_id}", endpoint, query).json()
    return found


def _asked(
    credentials: Callable[[], Any], what: str, endpoint: str, query: Mapping[str, str | None], **options: Any
) -> Any:
    given = {name: value for name, value in query.items() if value}
    rest: Any = rest_utils
    answer = rest.http_request(credentials(), endpoint, "GET", params=given, **options)
    try:
        rest.augmented_raise_for_status(answer)
    except OSError as error:  # what `requests` raises is one
        raise MlflowException(f"{endpoint} of {what}: {error}") from None
    return answer


def _described(one: dict[str, Any]) -> File:
    folder = bool(one.get("is_dir"))
    return File(
        one["path"], folder, None if folder else int(one.get("file_size") or 0)
    )  # protobuf's JSON has it as a text

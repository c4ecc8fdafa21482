"""The tracking server that is imported from, read by MLflow's own client: a server, a database, or a folder of files.

Nothing is written there. MLflow makes what it does not find, a database or a folder, so both are looked for first.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from zaffre.importing.database import Database
from zaffre.profiles import ClientError

T = TypeVar("T")
RUNS_A_PAGE = 500
EXPERIMENTS_A_PAGE = 500
CONNECT_S = 20.0
MODELS_A_PAGE = 100
TRACES_A_PAGE = 100
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "ENDPOINT_NOT_FOUND")
_UNKNOWN = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "RESOURCE_DOES_NOT_EXIST")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_PROMPT = "tags.`mlflow.prompt.is_prompt` = 'true'"
"""Without a word of it, MLflow's searches find models only."""
_NO_SPANS = "missing span data"
"""MLflow has no code for that."""
_USER = re.compile(r"(?<=://)[^/?#]*@")
_NEEDED = "Install it beside Zaffre (`pip install mlflow`), or give --mlflow newest for an environment of its own."


class Source:
    """Read only, from several threads at once."""

    def __init__(self, uri: str) -> None:
        """Raises ClientError for what is no tracking server that can be read, with what to do about it."""
        self.uri = _found(uri)
        self.kind = self.uri.partition(":")[0].partition("+")[0]
        self.name = without_password(self.uri)
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # what is in maintenance mode is what people move away from
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        if self.kind in ("http", "https"):
            _listening(self.uri)
        try:
            import mlflow
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise ClientError(
                f"Importing needs MLflow's client, and this Python has none ({error}). {_NEEDED}"
            ) from None
        self._failure = MlflowException
        # Addresses of artifacts and of models are looked up where these two say.
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        try:
            if self.kind in _DATABASES:
                _same_schema(self.uri, self.name)
            self.client = self.asked(mlflow.MlflowClient, self.uri, self.uri)
            self._store: Any = self.client._tracking_client.store
            engine = getattr(self._store, "engine", None)  # a server and a folder have none
            self._database = None if engine is None else Database(engine)
            self._has_logged_models = hasattr(self.client, "search_logged_models")
            self.asked(self._search_experiments, None, 1)
        except ImportError as error:
            raise ClientError(f"MLflow cannot read {self.name}: {error}. {_NEEDED}") from None

    def experiments(self) -> Iterator[Any]:
        """All of them, deleted ones too, the oldest first."""
        yield from self._pages(self._search_experiments)

    def runs(self, experiment_id: str) -> Iterator[list[Any]]:
        """Pages of the runs of an experiment, the oldest first, so that one that begins meanwhile moves none of them."""
        token: str | None = None
        while True:
            page = self.asked(self._search_runs, experiment_id, token)
            yield list(page)
            token = page.token
            if not token:
                return

    def points(self, run: Any) -> Iterator[Any]:
        """Every point of every metric of a run."""
        if self._database is not None:
            yield from self._of_database(partial(self._database.points, run.info.run_id))
            return
        for key in sorted(run.data.metrics):
            yield from self.asked(self.client.get_metric_history, run.info.run_id, key)

    def run(self, run_id: str) -> Any | None:
        return self._present(self.client.get_run, run_id)

    def logged_models(self, experiment_id: str) -> list[Any]:
        """Those of an experiment; MLflow 2 has none."""
        if not self._has_logged_models:
            return []
        try:
            return list(self._pages(partial(self._search_logged_models, experiment_id)))
        except SourceError as error:
            if error.code not in _UNKNOWN:
                raise
            self._has_logged_models = False
            return []

    def logged_model(self, model_id: str) -> Any | None:
        return self._present(self.client.get_logged_model, model_id) if self._has_logged_models else None

    def has_traces(self, experiment_id: str) -> bool:
        """MLflow has them since 2.14."""
        if not hasattr(self._store, "search_traces"):
            return False
        try:
            return bool(self.asked(self._search_traces, [experiment_id], None, None, 1)[0])
        except SourceError as error:
            if error.code not in _UNKNOWN:
                raise
            return False

    def traces(self, experiment_id: str) -> Iterator[list[Any]]:
        """Pages of the traces of an experiment without their spans, the oldest first."""
        yield from self._trace_pages([experiment_id], None)

    def spans(self, trace_id: str) -> list[Any]:
        """Those of one trace that the store itself keeps; none where none have come. Raises SourceError."""
        try:
            return list(self.asked(self.client.get_trace, trace_id, False).data.spans)
        except SourceError as error:
            if _NO_SPANS not in str(error):
                raise
            return []

    def links(self) -> Iterator[tuple[str, str]] | None:
        """The pairs of traces and runs that were linked, where all of them can be told at once."""
        return self._of_database(self._database.links) if self._database is not None else None

    def traces_of(self, run_id: str, experiments: Sequence[str]) -> list[Any]:
        """The traces of those experiments that belong to a run, linked ones too. Folders know no links."""
        if self.kind == "file" or not hasattr(self._store, "link_traces_to_run"):
            return []
        quoted = run_id.replace("'", "''")
        return [one for page in self._trace_pages(experiments, f"attribute.run_id = '{quoted}'") for one in page]

    def registered_models(self, *, prompts: bool = False) -> list[Any]:
        """Or prompts, which MLflow keeps as models with a tag."""
        return list(self._pages(partial(self._search_registered_models, _PROMPT if prompts else None)))

    def versions(self, name: str, *, prompts: bool = False) -> list[Any]:
        """The versions of a registered model, or of a prompt."""
        return list(self._pages(partial(self._search_versions, of_name(name, prompts=prompts))))

    def webhooks(self) -> list[str]:
        """Their names. Folders have none, nor has MLflow 2."""
        if self._database is not None:
            return list(self._of_database(self._database.webhooks))
        if self.kind == "file" or not hasattr(self.client, "list_webhooks"):
            return []
        try:
            return [one.name for one in self._pages(self._list_webhooks)]
        except SourceError as error:
            if error.code not in _UNKNOWN:
                raise
            return []

    def download_uri(self, version: Any) -> str:
        """Where the files of a model's version are."""
        return str(self.asked(self.client.get_model_version_download_uri, version.name, version.version))

    def artifacts(self, uri: str) -> Any:
        """MLflow's own reader of the files below an address."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return self.asked(get_artifact_repository, uri)

    def served(self, run_id: str) -> Any | None:
        """A reader of a run's files on a server's own disk; None where there is no server."""
        if self.kind not in ("http", "https"):
            return None
        from zaffre.importing.served import ServedFiles

        return ServedFiles(self.client._tracking_client.store, run_id)

    def served_trace(self, trace_id: str) -> Callable[[], dict[str, Any]] | None:
        """A reader of the file of spans on a server's own disk; None where there is no server."""
        if self.kind not in ("http", "https"):
            return None
        from zaffre.importing.served import trace_document

        return partial(trace_document, self._store, trace_id)

    def _of_database(self, read: Callable[[], Iterable[T]]) -> Iterator[T]:
        """Rows of its tables. Raises SourceError."""
        import sqlalchemy as sa

        try:
            yield from read()
        except sa.exc.SQLAlchemyError as error:
            raise SourceError(f"{self.name}: {_first_line(error)}") from error

    def _search_experiments(self, token: str | None, limit: int = EXPERIMENTS_A_PAGE) -> Any:
        return self.client.search_experiments(
            view_type=3, max_results=limit, page_token=token, order_by=["creation_time ASC"]
        )

    def _search_runs(self, experiment_id: str, token: str | None) -> Any:
        order = ["attributes.start_time ASC"]
        return self.client.search_runs([experiment_id], "", 3, RUNS_A_PAGE, order, token)

    def _search_logged_models(self, experiment_id: str, token: str | None) -> Any:
        return self.client.search_logged_models([experiment_id], page_token=token)

    def _trace_pages(self, experiments: Sequence[str], filter_: str | None) -> Iterator[list[Any]]:
        token: str | None = None
        while True:
            page, token = self.asked(self._search_traces, experiments, filter_, token)
            yield list(page)
            if not token:
                return

    def _search_traces(
        self, experiments: Sequence[str], filter_: str | None, token: str | None, limit: int = TRACES_A_PAGE
    ) -> Any:
        """By the store: the client would read all spans as well."""
        return self._store.search_traces(
            experiment_ids=list(experiments),
            filter_string=filter_,
            max_results=limit,
            order_by=["timestamp_ms ASC"],
            page_token=token,
        )

    def _search_registered_models(self, filter_: str | None, token: str | None) -> Any:
        return self.client.search_registered_models(filter_, max_results=MODELS_A_PAGE, page_token=token)

    def _list_webhooks(self, token: str | None) -> Any:
        return self.client.list_webhooks(page_token=token)

    def _search_versions(self, filter_: str, token: str | None) -> Any:
        return self.client.search_model_versions(filter_, max_results=MODELS_A_PAGE, page_token=token)

    def _present(self, ask: Callable[[str], Any], id_: str) -> Any | None:
        """What is there; None for what is not."""
        try:
            return self.asked(ask, id_)
        except SourceError as error:
            if error.code not in ABSENT:
                raise
            return None

    def _pages(self, ask: Callable[[str | None], Any]) -> Iterator[Any]:
        token: str | None = None
        while True:
            page = self.asked(ask, token)
            yield from page
            token = page.token
            if not token:
                return

    def asked(self, ask: Callable[..., T], *arguments: Any) -> T:
        """What a call of MLflow's client answers. Raises SourceError with its words."""
        try:
            return ask(*arguments)
        except self._failure as error:
            code = str(getattr(error, "error_code", ""))
            raise SourceError(f"{self.name}: {_first_line(error)}", code) from error


class SourceError(ClientError):
    """What is imported from did not answer a question. `code` is MLflow's."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def of_name(name: str, *, prompts: bool) -> str:
    """A filter for the versions of a model or of a prompt."""
    quoted = name.replace("'", "''")
    return f"name='{quoted}'" + (f" AND {_PROMPT}" if prompts else "")


def without_password(uri: str) -> str:
    """An address that may be shown and kept."""
    return _USER.sub("", uri, count=1)


def _found(uri: str) -> str:
    """The address as MLflow's client takes it. Raises ClientError when there is nothing to be read."""
    scheme = uri.partition(":")[0].partition("+")[0] if "://" in uri or uri.startswith("file:") else ""
    if scheme in ("http", "https"):
        return uri.rstrip("/")
    if scheme == "sqlite":
        path = unquote(uri.partition("://")[2].partition("?")[0])[1:]
        if not Path(path).is_file():
            raise ClientError(f"There is no database {path or 'in memory'} to import from.")
        return uri
    if scheme in _DATABASES:
        return uri
    if scheme not in ("", "file"):
        raise ClientError(
            f"'{without_password(uri)}' is no tracking server of MLflow's; give http(s)://…, sqlite:///…, postgresql://… "
            "or a folder such as ./mlruns."
        )
    folder = Path(unquote(urlsplit(uri).path) if scheme else uri).expanduser().absolute()
    if not folder.is_dir():
        raise ClientError(f"There is no folder {folder} to import from.")
    if not any((folder / name).is_dir() for name in ("models", ".trash")) and not any(folder.glob("*/meta.yaml")):
        raise ClientError(
            f"{folder} holds no runs of MLflow's; it is the folder `mlruns` that is meant, with all in it."
        )
    return folder.as_uri()


def _same_schema(uri: str, name: str) -> None:
    """Raises ClientError for a database that MLflow's client would change when it opens it: another schema is brought up to
    its own, without asking, and tables are made where there are none."""
    import sqlalchemy as sa
    from mlflow.store.db import utils

    databases: Any = utils
    try:
        engine = sa.create_engine(uri)
        with engine.connect() as conn:
            tables = sa.inspect(conn).get_table_names()
            if not {"experiments", "alembic_version"} <= set(tables):
                raise ClientError(f"The database {name} holds no experiments of MLflow's.")
            version = conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        engine.dispose()
    except sa.exc.SQLAlchemyError as error:
        raise ClientError(f"The database {name} cannot be read: {_first_line(error)}.") from None
    if version != databases._get_latest_schema_revision():
        import mlflow

        raise ClientError(
            f"The database {name} was written by another MLflow than {mlflow.__version__}, which would change it. Name the one "
            "that wrote it, as in --mlflow 2.22.5, or import from its server."
        )


def _listening(uri: str) -> None:
    """MLflow's client would ask for minutes. Raises ClientError when nobody is there at all."""
    parts = urlsplit(uri)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise ClientError(f"{without_password(uri)} cannot be reached: {error}.") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]

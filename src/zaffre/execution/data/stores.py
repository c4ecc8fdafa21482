"""Reads and writes data outside this server: a folder, an S3 bucket, a container of Azure Storage; one face for all.

Everything blocks, so it is called on threads. Messages never hold an address's query: that of a SAS is its secret.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import obstore
from obstore import exceptions
from obstore.store import AzureStore, S3Store

from zaffre.execution.data.folders import FolderStore
from zaffre.execution.data.sources import AzureSource, BucketSource, FolderSource, Found, Source, check_path
from zaffre.execution.errors import StoreError, StoreUnavailable

_CHUNK = 1 << 20
_PART = 16 << 20
_RETRY: Any = {"max_retries": 4, "retry_timeout": datetime.timedelta(seconds=30)}
_TIMES: Any = {"connect_timeout": "10s", "timeout": "10min", "allow_http": True}
_STATUS = re.compile(r"status code: (\d{3})")
_QUERY = re.compile(r"\?[^\s\"')>]*")


class Store(Protocol):
    def list(self, prefix: str) -> list[Found]:
        """Every file whose path is `prefix` or lies below the folder `prefix`, by path; '' is the whole store."""
        ...

    def children(self, folder: str) -> tuple[Sequence[str], Sequence[Found]]:
        """The folders and the files right below a folder, '' for the store itself; paths are from the store on."""
        ...

    def head(self, path: str) -> Found | None:
        """The one file of that path."""
        ...

    def fetch(self, path: str, dest: Path) -> None:
        """Write the file's bytes to `dest`, which must not exist."""
        ...

    def read(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The file's bytes from `start` up to but not including `end`."""
        ...

    def put(self, path: str, source: Path) -> None:
        """Store the file under `path`, whole or not at all; what was there is replaced."""
        ...

    def delete(self, path: str) -> None:
        """Remove the file; nothing where there is none."""
        ...


def open_store(source: Source, name: str, roots: Path | None = None) -> Store:
    """The store behind `source`; `name` is the datastore's, for messages; `roots` a file of certificates to trust."""
    if isinstance(source, FolderSource):
        return FolderStore(source, name)
    return _Objects(_open(source, roots), source.prefix, name)


def probe(source: Source, name: str, roots: Path | None = None) -> None:
    """Raise StoreError or StoreUnavailable unless the store opens and can be listed; looks once and at one name only."""
    if isinstance(source, FolderSource):
        if not Path(source.path).is_dir():
            raise StoreError(f"The folder '{source.path}' of datastore '{name}' does not exist.")
        FolderStore(source, name)
        return
    with _told(name, ""):
        store = _open(source, roots, {**_TIMES, "timeout": "20s"}, {"max_retries": 0})
        next(iter(obstore.list(store, source.prefix or None, chunk_size=1)), None)


def _open(
    source: BucketSource | AzureSource, roots: Path | None, times: Any = _TIMES, retry: Any = _RETRY
) -> S3Store | AzureStore:
    """Every value that obstore would otherwise take from the server's own environment is said."""
    client: Any = {**times, **({"root_certificate": roots.read_bytes()} if roots is not None else {})}
    if isinstance(source, BucketSource):
        key, secret = source.access_key_id, source.secret_access_key
        signed = {} if secret is None else {
            "credential_provider": lambda: {"access_key_id": key, "secret_access_key": secret, "expires_at": None}
        }  # fmt: skip
        return S3Store(
            source.bucket,
            region=source.region,
            endpoint=source.endpoint or f"https://s3.{source.region}.amazonaws.com",
            virtual_hosted_style_request=False,
            skip_signature=secret is None,
            client_options=client,
            retry_config=retry,
            **signed,  # type: ignore[arg-type]
        )
    return AzureStore(
        source.container,
        account_name=source.account,
        endpoint=source.endpoint,
        use_emulator=False,
        use_fabric_endpoint=False,
        client_options=client,
        retry_config=retry,
        **_azure_credential(source),
    )


def _azure_credential(source: AzureSource) -> dict[str, Any]:
    if source.key is not None:
        return {"credential_type": "access_key", "account_key": source.key, "skip_signature": False}
    if source.sas is not None:
        return {"credential_type": "sas_token", "sas_key": source.sas.removeprefix("?"), "skip_signature": False}
    if source.client_secret is not None:
        given = {
            "credential_type": "client_secret",
            "client_id": source.client_id,
            "client_secret": source.client_secret,
            "tenant_id": source.tenant_id,
            "skip_signature": False,
        }
        return given if source.authority is None else {**given, "authority_host": source.authority}
    return {"skip_signature": True}


class _Objects:
    """A bucket or container, seen from `prefix` on."""

    def __init__(self, store: S3Store | AzureStore, prefix: str, name: str) -> None:
        self._store = store
        self._prefix = prefix.strip("/")
        self._name = name

    def list(self, prefix: str) -> list[Found]:
        whole = self._key(prefix.strip("/"))
        cut = len(self._prefix) + 1 if self._prefix else 0
        with _told(self._name, prefix):
            found = [self._found(meta) for page in obstore.list(self._store, whole or None) for meta in page]
            # An object store lists what is below a name, and not the object of that very name.
            if whole and not any(one.path == whole[cut:] for one in found) and (one := self.head(prefix.strip("/"))):
                found.append(one)
        return sorted(found)

    def children(self, folder: str) -> tuple[Sequence[str], Sequence[Found]]:
        cut = len(self._prefix) + 1 if self._prefix else 0
        with _told(self._name, folder):
            found = obstore.list_with_delimiter(self._store, self._key(folder) or None)
            return [path[cut:] for path in found["common_prefixes"]], [self._found(meta) for meta in found["objects"]]

    def head(self, path: str) -> Found | None:
        with _told(self._name, path):
            try:
                return self._found(obstore.head(self._store, self._key(path)))
            except FileNotFoundError:
                return None

    def fetch(self, path: str, dest: Path) -> None:
        with open(dest, "xb") as file:
            for chunk in self.read(path):
                file.write(chunk)

    def read(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        options: Any = (
            {} if end is None and start == 0 else {"range": {"offset": start} if end is None else (start, end)}
        )
        with _told(self._name, path):
            for chunk in obstore.get(self._store, self._key(path), options=options).stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    def put(self, path: str, source: Path) -> None:
        with _told(self._name, path), open(source, "rb") as file:
            obstore.put(self._store, self._key(path), file, chunk_size=_PART, max_concurrency=2)

    def delete(self, path: str) -> None:
        with _told(self._name, path):
            try:
                obstore.delete(self._store, self._key(path))
            except FileNotFoundError:
                pass

    def _found(self, meta: Any) -> Found:
        cut = len(self._prefix) + 1 if self._prefix else 0
        modified = int(meta["last_modified"].timestamp() * 1000)
        return Found(meta["path"][cut:], meta["size"], modified, meta["e_tag"] or "")

    def _key(self, path: str) -> str:
        if path:
            check_path(path, self._name)
        return f"{self._prefix}/{path}" if self._prefix and path else self._prefix or path


class _told:
    """Turns what the library raises into a sentence that names the datastore and the path."""

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, StoreError | StoreUnavailable | GeneratorExit):
            return
        where = f"'{self._path}' of datastore '{self._name}'"
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        status = _STATUS.search(text)
        refused = (
            int(status[1]) if status else 0
        )  # a list is refused with a generic error that has the status in its text
        if isinstance(error, FileNotFoundError) or refused == 404:
            raise StoreError(f"There is nothing at {where}, or its bucket or container does not exist.") from None
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError) or refused in (
            401,
            403,
        ):
            raise StoreError(f"The datastore's credential does not open {where}; check it, and its expiry.") from None
        if isinstance(error, exceptions.InvalidPathError):
            raise StoreError(f"The name of {where} cannot be used: it has an empty part, '.' or '..'.") from None
        if isinstance(error, exceptions.BaseError | OSError | ValueError):
            said = _QUERY.sub("", text.partition(": <")[0])[:300]
            if 400 <= refused < 500:
                raise StoreError(f"{where} was refused: {said}") from None
            raise StoreUnavailable(f"{where} could not be reached: {said}") from None

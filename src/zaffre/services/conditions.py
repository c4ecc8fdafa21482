"""Conditional requests on blobs: If-Match and its kin, with Azure's answers."""

from __future__ import annotations

import msgspec

from zaffre.errors import Conflict, PreconditionFailed, ZaffreError
from zaffre.store.blobs import Blob, Container

ANY = "*"
# How a signed address names the etag that an upload takes the place of. azure-storage-blob hands on only the parameters of a
# SAS; this is the one of them that means nothing in a SAS like ours.
REPLACES, REPLACES_MARK = "scid", "replaces-"


class NotModified(ZaffreError):
    """The reader has it already."""

    status = 304
    code = "ConditionNotMet"


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """`match` and `none_match` hold etags without quotes, or `*`; times are milliseconds, in whole seconds."""

    match: tuple[str, ...] = ()
    none_match: tuple[str, ...] = ()
    modified_since: int | None = None
    unmodified_since: int | None = None

    def check_read(self, blob: Blob) -> None:
        """Raise NotModified or PreconditionFailed unless `blob` may be sent."""
        self._check_wanted(blob)
        if self.none_match:
            if ANY in self.none_match or blob.etag in self.none_match:
                raise NotModified(f"The blob '{blob.name}' is still the one with the etag {blob.etag}.")
        elif self.modified_since is not None and _second(blob) <= self.modified_since:
            raise NotModified(f"The blob '{blob.name}' has not changed since then.")

    def check_source(self, blob: Blob) -> None:
        """Raise PreconditionFailed unless `blob` may be copied from."""
        try:
            self.check_read(blob)
        except (NotModified, PreconditionFailed) as error:
            raise PreconditionFailed(f"The source: {error.message}", code="SourceConditionNotMet") from None

    def check_write(self, blob: Blob | None, name: str) -> None:
        """Raise Conflict or PreconditionFailed unless `blob` (None: there is none) may be replaced."""
        if blob is None:
            if self.match:
                raise PreconditionFailed(f"There is no blob '{name}' to match If-Match.")
            return
        if ANY in self.none_match:
            raise Conflict(f"The blob '{name}' exists already.", code="BlobAlreadyExists")
        self._check_wanted(blob)
        if blob.etag in self.none_match:
            raise PreconditionFailed(f"The blob '{name}' has the etag that If-None-Match excludes.")
        if self.modified_since is not None and _second(blob) <= self.modified_since:
            raise PreconditionFailed(f"The blob '{name}' has not changed since the time of If-Modified-Since.")

    def check_container(self, container: Container) -> None:
        """Raise PreconditionFailed unless the container may be deleted; containers know times only."""
        changed = container.created_at // 1000 * 1000
        if self.modified_since is not None and changed <= self.modified_since:
            raise PreconditionFailed(f"The container '{container.name}' has not changed since that time.")
        if self.unmodified_since is not None and changed > self.unmodified_since:
            raise PreconditionFailed(f"The container '{container.name}' has changed since that time.")

    def _check_wanted(self, blob: Blob) -> None:
        if self.match and ANY not in self.match and blob.etag not in self.match:
            raise PreconditionFailed(f"The blob '{blob.name}' has changed: its etag is {blob.etag} now.")
        if self.unmodified_since is not None and _second(blob) > self.unmodified_since:
            raise PreconditionFailed(f"The blob '{blob.name}' has changed since the time of If-Unmodified-Since.")


NONE = Conditions()


def _second(blob: Blob) -> int:
    """Last-Modified as clients know it: without the milliseconds."""
    return blob.modified_at // 1000 * 1000

"""Artifacts whose bytes a client sends or fetches at signed addresses, in one piece or in parts, by the Blob protocol.

An upload in parts leaves no record but the parts: its id stands in the id of each block, so two uploads of one file do
not mix; the first to be completed drops the other's parts, as Azure has it. What nobody completes is collected in a week.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from zaffre.errors import InvalidInput
from zaffre.runtime import Runtime
from zaffre.services import media_types
from zaffre.services.blobs import Blobs, Content, check_name
from zaffre.services.blocks import Pick
from zaffre.services.places import Place
from zaffre.services.signed_links import READ, WRITE, signed_address
from zaffre.services.workspaces import Workspace, Workspaces
from zaffre.store.blobs import Blob

PARTS_LIMIT = 10_000
UPLOAD_S = 12 * 3600
"""How long the addresses of parts are good: a slow line takes its time over a large model."""


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """`addresses` has one for each part, in order; they have no host."""

    id: str
    addresses: list[str]


class DirectArtifacts:
    """`place` is always one in the workspace's own storage account."""

    def __init__(self, runtime: Runtime, workspaces: Workspaces, blobs: Blobs) -> None:
        self._runtime = runtime
        self._workspaces = workspaces
        self._blobs = blobs

    async def read_address(self, workspace: Workspace, place: Place, seconds: int) -> tuple[Blob, str]:
        """The file and where it is fetched for so long. Raises NotFound."""
        blob = await self._blobs.properties(place.account, place.container, place.path)
        return blob, await self._address(workspace, place, READ, seconds)

    async def write_address(self, workspace: Workspace, place: Place, seconds: int) -> str:
        """Where the file is written by Put Blob for so long; nothing is made by asking."""
        check_name(place.path)
        return await self._address(workspace, place, WRITE, seconds)

    async def begin(self, workspace: Workspace, place: Place, parts: int) -> Upload:
        """Where each of `parts` parts is to be put. Raises InvalidInput for fewer than 1 or more than 10,000."""
        if not 1 <= parts <= PARTS_LIMIT:
            raise InvalidInput(
                f"Invalid value {parts} for parameter 'num_parts' supplied. Hint: an upload has 1 to {PARTS_LIMIT} parts.",
                target="num_parts",
            )
        check_name(place.path)
        id_ = self._runtime.hex_id()
        address = await self._address(workspace, place, WRITE, UPLOAD_S)
        return Upload(
            id=id_,
            addresses=[f"{address}&comp=block&blockid={quote(_block(id_, n + 1), safe='')}" for n in range(parts)],
        )

    async def complete(self, place: Place, upload: str, parts: Sequence[int]) -> Blob:
        """Make the file of these parts, in the order of their numbers. Doing it again changes nothing.

        Raises InvalidInput when a part is named twice, or was not sent.
        """
        _check(upload)
        if not 1 <= len(parts) <= PARTS_LIMIT or len(set(parts)) != len(parts):
            raise InvalidInput(
                f"An upload is completed with 1 to {PARTS_LIMIT} parts of different numbers; {len(parts)} are given.",
                target="parts",
            )
        picks = [Pick(source="Latest", id=_block(upload, number)) for number in sorted(parts)]
        content = Content(content_type=media_types.of_name(place.path))
        return await self._blobs.commit_blocks(place.account, place.container, place.path, picks, content=content)

    async def abort(self, place: Place, upload: str) -> None:
        """Forget the parts that were sent; there need be none."""
        _check(upload)
        await self._blobs.forget_blocks(place.account, place.container, place.path, _prefix(upload))

    async def _address(self, workspace: Workspace, place: Place, permissions: str, seconds: int) -> str:
        key = await self._workspaces.account_key(workspace)
        expiry = self._runtime.now() + seconds * 1000
        return signed_address(place, key, permissions=permissions, expiry=expiry)


def _check(upload: str) -> None:
    if len(upload) != 32 or not set(upload) <= set("0123456789abcdef"):
        raise InvalidInput(f"'{upload[:100]}' is not the id of an upload; begin one first.", target="upload_id")


def _prefix(upload: str) -> str:
    """How the ids of all blocks of an upload begin: base64 of 33 bytes, which needs no padding."""
    return base64.b64encode(f"{upload}-".encode()).decode()


def _block(upload: str, number: int) -> str:
    return _prefix(upload) + base64.b64encode(f"{number:06d}".encode()).decode()

"""The XML of the Blob protocol: what clients send is read or refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaffre.errors import InvalidInput, ZaffreError
from zaffre.protocols.blob import documents


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<Other/>",
        b"<BlockList><Latest>not base64</Latest></BlockList>",
        b"<BlockList><Latest></Latest></BlockList>",
        b"<BlockList><Newest>YQ==</Newest></BlockList>",
        b"<BlockList><Latest><b>YQ==</b></Latest></BlockList>",
        b"<BlockList><Latest>" + base64.b64encode(b"x" * 65) + b"</Latest></BlockList>",
        b'<!DOCTYPE BlockList [<!ENTITY a "YQ==">]><BlockList><Latest>&a;</Latest></BlockList>',
        b'<!DOCTYPE b SYSTEM "file:///etc/passwd"><BlockList/>',
        b'<?xml version="1.0" encoding="no-such"?><BlockList/>',
        b"\xff\xfe<\x00",
    ],
)
def test_bad_block_lists_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        documents.parse_block_list(body)


def test_a_block_list_is_read_in_order() -> None:
    body = b"""<?xml version='1.0' encoding='utf-8'?>
    <BlockList><Committed>YQ==</Committed><Latest>Yg==</Latest> <Uncommitted> YQ== </Uncommitted></BlockList>"""
    assert [(pick.source, pick.id) for pick in documents.parse_block_list(body)] == [
        ("Committed", "YQ=="),
        ("Latest", "Yg=="),
        ("Uncommitted", "YQ=="),
    ]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_block_list_is_read_or_refused(body: bytes) -> None:
    try:
        documents.parse_block_list(b"<BlockList>" + body + b"</BlockList>")
    except ZaffreError as error:
        assert error.status == 400

"""The Blob protocol: names in paths and in listings."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.support.blob_server import BlobServer, blob_server, upload

BOX = "azureml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    with blob_server(tmp_path_factory.mktemp("blobs")) as made:
        yield made


def test_the_form_without_an_account(server: BlobServer) -> None:
    """What is left of a URL when the SDK has joined a path to it (wire.md §7.2)."""
    box, token = server.workspace.container, server.token()
    short = f"/{box}/LocalUpload/h/ctx/Dockerfile"
    assert server.request("PUT", short, b"FROM x", token=token, x_ms_blob_type="BlockBlob")[0] == 201
    assert server.request("GET", server.path(box, "LocalUpload/h/ctx/Dockerfile"), token=token)[2] == b"FROM x"
    assert server.request("GET", f"/{box}?restype=container&comp=list", token=token)[0] == 200


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("../../../x", "../../../x"),
        ("%2e%2e/%2E%2E/etc/passwd", "../../etc/passwd"),
        ("a//b", "a//b"),
        ("/lead", "/lead"),
        ("a%2Fb%2fc", "a/b/c"),
        ("a%252Fb", "a%2Fb"),
        ("a+b%20c%2B", "a+b c+"),
        (quote("ünï/😀&<>\"'"), "ünï/😀&<>\"'"),
        ("trail/", "trail/"),
        ("q%3Fx%23y", "q?x#y"),
        ("%0D%0A%09", "\r\n\t"),
    ],
)
def test_names_are_decoded_once_and_listed_as_they_are(server: BlobServer, sent: str, name: str) -> None:
    token, box = server.token(), server.workspace.container
    path = server.path(box, sent)
    assert server.request("PUT", path, b"named", token=token, x_ms_blob_type="BlockBlob")[0] == 201
    assert server.request("GET", path, token=token)[2] == b"named"
    assert asyncio.run(server.blobs.get_bytes(server.workspace.account, box, name)) == b"named"
    query = f"?restype=container&comp=list&include=metadata&prefix={quote(name, safe='')}"
    body = server.request("GET", server.path(box) + query, token=token)[2]
    assert name in [found.text for found in ET.fromstring(body).iter("Name")]
    assert server.request("DELETE", path, token=token)[0] == 202


@pytest.mark.parametrize("sent", ["%00", "a%00b", "%FF", "%C3", "%01", "%EF%BF%BF", "x" * 1025])
def test_bad_names_are_refused(server: BlobServer, sent: str) -> None:
    assert upload(server, sent)[0] == 400
    assert not any("objects/drafts/" in str(path) for path in server.settings.objects.rglob("drafts/*"))


def test_nul_in_a_listing_is_refused(server: BlobServer) -> None:
    for query in (
        "prefix=%00",
        "delimiter=a%00",
        "marker=AA==",
        "marker=%FF",
        "marker=A",
        "maxresults=0",
        "maxresults=x",
    ):
        answer = server.request("GET", f"{server.path(BOX)}?restype=container&comp=list&{query}", token=server.token())
        assert answer[0] == 400

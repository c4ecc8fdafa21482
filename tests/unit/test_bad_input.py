"""Bad input at the door: always a 4xx that names the field and what was expected, and nothing changed by it."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.bad_input import ARM, VALID, Raw, outside, path_of, refused, rows, spoil, spoiled_fields
from tests.support.zaffre_server import ZaffreServer

PARENT = "spoiled-parent"
MALFORMED = {
    "cut off": b'{"properties":',
    "a list": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "a number": b"12",
    "not UTF-8": b'{"properties":{"description":"\xff\xfe"}}',
    "a surrogate": b'{"properties":{"description":"\\ud800"}}',
    "a NUL": b'{"properties":{"description":"a\\u0000b"}}',
    "NaN": b'{"properties":{"x":NaN}}',
    "no finite number": b'{"properties":{"x":1e999}}',
    "5000 digits": b'{"properties":{"x":1%s}}' % (b"0" * 5000),
    "deep objects": b'{"a":' * 50_000,
    "deep lists": b"[" * 100_000,
    "a closed deep nesting": b'{"properties":{"x":%s1%s}}' % (b"[" * 3000, b"]" * 3000),
    "properties twice": b'{"properties":{},"properties":[]}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "zero bytes": b"\0\0\0",
    "properties as text": b'{"properties":"x"}',
}
NAMES = (
    "%2e%2e",
    "..%2F..%2Fetc%2Fpasswd",
    "..%5C..%5Cx",
    "a%00b",
    "%00",
    "a%0Ab",
    "a%0D%0AX-Evil:1",
    "a%2Fb",
    "a%22b",
    "a'b",
    "%22;%20return%20200%20%22x%22;%7D",
    "a%7Bb%7D",
    "$(id)",
    "%60id%60",
    "a;b",
    "$host",
    "%FF%FE",
    "%C3%28",
    "a%20b",
    "-rf",
    "%20",
    "%E2%80%AE",
    "%2525",
    "~",
    "*",
    "a%3Fb",
    "a%23b",
    "a" * 300,
)
KEYS = (
    '"; return 200 "x"; }',
    "a{b}c{d}e{f}g{h}i",
    "abcdefghijklmno\n1",
    "short",
    "x" * 257,
    "clé-clé-clé-clé-clé",
    "$request_body_file",
    "a b c d e f g h i j",
)


@pytest.fixture(scope="module")
def raw(server: ZaffreServer) -> Iterator[Raw]:
    server.environment_version("bare", {"image": "python:3.11"})
    answer = server.request(
        "PUT", path_of(server, "workspaces/onlineEndpoints", PARENT), {"properties": {"authMode": "Key"}}
    )
    assert answer.status in (200, 201), answer.body
    made = Raw(server)
    yield made
    made.close()


def put(raw: Raw, server: ZaffreServer, kind: str, body: bytes | dict[str, Any], name: str = "spoiled") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return raw.ask("PUT", path_of(server, kind, name, PARENT), data, headers={"content-type": "application/json"})


@pytest.mark.parametrize("kind", VALID)
def test_every_field_with_wrong_types(server: ZaffreServer, raw: Raw, kind: str) -> None:
    before = rows(server)
    fields = [(field, value) for type_, field, value in spoiled_fields() if type_ == kind]
    assert len(fields) > 20
    for field, value in fields:
        answer = put(raw, server, kind, spoil(kind, field, value))
        refused(answer, 400, names=field.removeprefix("^").rpartition(".")[2])
        full = field.removeprefix("^") if field.startswith("^") else f"properties.{field}"
        assert answer.json["error"]["target"].startswith(full), answer.body
    assert rows(server) == before
    assert raw.ask("GET", path_of(server, kind, "spoiled", PARENT)).status == 404


@pytest.mark.parametrize("kind", VALID)
@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_bodies(server: ZaffreServer, raw: Raw, kind: str, what: str) -> None:
    before = rows(server)
    body = MALFORMED[what]
    if body.startswith(b'{"properties":{"'):  # spoil a body that would be accepted otherwise
        valid = json.dumps(VALID[kind]).encode()[1:-1]
        body = b'{"properties":{' + valid + (b"," if valid else b"") + body.removeprefix(b'{"properties":{')
    refused(put(raw, server, kind, body), 400)
    assert rows(server) == before


@pytest.mark.parametrize("kind", VALID)
def test_names(server: ZaffreServer, raw: Raw, kind: str) -> None:
    """What climbs, breaks out of a file's grammar or means something to a shell is nobody's name."""
    before, around = rows(server), outside(server)
    body = json.dumps({"properties": VALID[kind]}).encode()
    for name in NAMES:
        refused(raw.ask("PUT", path_of(server, kind, name, PARENT), body))
        refused(raw.ask("GET", path_of(server, kind, name, PARENT)))
        if kind.count("/") == 2:
            refused(raw.ask("PUT", path_of(server, kind, "spoiled", name), body))
        if kind != "workspaces":
            assert raw.ask("DELETE", path_of(server, kind, name, PARENT)).status in (204, 400, 404)
    assert rows(server) == before
    assert outside(server) == around


def test_unknown_kinds_and_addresses(server: ZaffreServer, raw: Raw) -> None:
    scope = server.scope
    for path in (
        "/nothing",
        "/subscriptions//resourceGroups",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%ff",
        "/%00",
        "/../../etc/passwd",
        "/endpoints/nobody/score",
        "/endpoints/%2e%2e/score",
        "/endpoints/a%00b/score",
        f"{scope}/unknownKind/x?{ARM}",
        f"{scope}/jobs/x/unknown?{ARM}",
        f"{scope}/jobs/x/y/z?{ARM}",
        "/logs/a/b/c?se=99999999999999999&sig=%C3%A9",
        f"/logs/a/b/c?se={'9' * 5000}&sig=x",
        "/logs/%2e%2e/%2e%2e/x?se=99999999999999999&sig=x",
        "/logs/a/b/c",
    ):
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            refused(raw.ask(method, path, b"{}" if method in ("POST", "PUT", "PATCH") else None))
    for path in ("/", "//"):  # where a browser comes first; nothing is to be sent there
        assert raw.ask("GET", path).status == 501
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            refused(raw.ask(method, path, b"{}"))


@pytest.mark.parametrize("name", ["$top", "count"])
@pytest.mark.parametrize(
    "value", ["-1", "0", "9" * 30, "9" * 5000, "abc", "1.5", "%00", "10001", "%D9%A1", "1e3", "%2B5", "%205"]
)
def test_page_sizes(server: ZaffreServer, raw: Raw, name: str, value: str) -> None:
    answer = raw.ask("GET", f"{server.scope}/jobs?{ARM}&{name}={value}")
    refused(answer, 400)
    assert value == "%00" or answer.json["error"]["target"] == name


@pytest.mark.parametrize(
    "query",
    [
        "$skip=-1",
        f"$skip={'9' * 30}",
        "$skip=abc",
        "$skip=%00",
        "$skip=%D9%A1",
        "listViewType=none",
        "hash=%00",
        "jobType=%00",
    ],
)
def test_other_list_parameters(server: ZaffreServer, raw: Raw, query: str) -> None:
    refused(raw.ask("GET", f"{server.scope}/jobs?{ARM}&{query}"), 400)


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_would_break_the_edges_files(server: ZaffreServer, raw: Raw, key: str) -> None:
    for which in ("primaryKey", "secondaryKey"):
        body = {"properties": {"authMode": "Key", "keys": {which: key}}}
        answer = put(raw, server, "workspaces/onlineEndpoints", body)
        refused(answer, 400, names=which)
        assert key not in answer.body.decode(), "a key is never echoed"
    path = path_of(server, "workspaces/onlineEndpoints", PARENT).replace("?", "/regenerateKeys?")
    refused(raw.ask("POST", path, json.dumps({"keyType": "Primary", "keyValue": key}).encode()), 400, names="keyValue")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"keyType": "Third"},
        {"keyType": []},
        {"keyType": "Primary", "keyValue": 17},
        {"keyType": "Primary", "keyValue": {}},
    ],
)
def test_regenerating_keys(server: ZaffreServer, raw: Raw, body: dict[str, Any]) -> None:
    path = path_of(server, "workspaces/onlineEndpoints", PARENT).replace("?", "/regenerateKeys?")
    refused(raw.ask("POST", path, json.dumps(body).encode()), 400, names="key")


def test_what_the_edge_could_not_be_told(server: ZaffreServer, raw: Raw) -> None:
    """Each of these once reached nginx's files, where it stopped every later change of any endpoint."""
    endpoint, deployment = "workspaces/onlineEndpoints", "workspaces/onlineEndpoints/deployments"
    twins = {"primaryKey": "a" * 20, "secondaryKey": "A" * 20}
    refused(put(raw, server, endpoint, {"properties": {"authMode": "Key", "keys": twins}}), 400, names="keys")
    keys = path_of(server, endpoint, PARENT)
    known = server.request("POST", keys.replace("?", "/listKeys?")).json["primaryKey"]
    twin = {"properties": {"authMode": "Key", "keys": {"secondaryKey": known.swapcase()}}}
    refused(put(raw, server, endpoint, twin, PARENT), 400, names="keys")
    change = {"keyType": "Secondary", "keyValue": known.swapcase()}
    refused(raw.ask("POST", keys.replace("?", "/regenerateKeys?"), json.dumps(change).encode()), 400, names="keyValue")
    for traffic in (
        {"blue": 50, "BLUE": 50},
        {"blue": 101},
        {"blue": -1},
        {"blue": 50},
        {"nobody": 100},
        {"blue": 2**63},
    ):
        body = {"properties": {"authMode": "Key", "traffic": traffic}}
        refused(put(raw, server, endpoint, body, PARENT), 400, names="traffic")
    for group, field, value in (
        ("requestSettings", "requestTimeout", "PT0S"),
        ("requestSettings", "requestTimeout", "PT2H"),
        ("requestSettings", "requestTimeout", f"PT{'9' * 400}S"),
        ("requestSettings", "requestTimeout", "a minute"),
        ("requestSettings", "maxConcurrentRequestsPerInstance", 0),
        ("requestSettings", "maxConcurrentRequestsPerInstance", 2**40),
        ("livenessProbe", "period", "PT0S"),
        ("livenessProbe", "failureThreshold", 0),
        ("readinessProbe", "successThreshold", -1),
    ):
        spoiled = spoil(deployment, f"{group}.{field}", value)
        refused(put(raw, server, deployment, spoiled), 400, names=f"properties.{group}.{field}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("command", ""),
        ("command", "echo ${{inputs.absent}}"),
        ("command", "echo ${{"),
        ("environmentId", "../../x"),
        ("environmentId", "azureml:nobody:1"),
        ("environmentId", ""),
        ("codeId", "file:///etc/passwd"),
        ("codeId", "azureml:nobody:1"),
        ("computeId", "nobody"),
        ("jobType", "Nonsense"),
        ("limits.timeout", "PT"),
        ("limits.timeout", "-PT5S"),
        ("limits.timeout", f"PT{'9' * 400}S"),
        ("environmentVariables", {"A=B": "x"}),
        ("environmentVariables", {"": "x"}),
        ("environmentVariables", {"A\nB": "x"}),
        ("inputs", {"../x": {"jobInputType": "literal", "value": "1"}}),
        ("inputs", {"a b": {"jobInputType": "literal"}}),
        ("inputs", {"x": {"jobInputType": "nothing"}}),
        ("inputs", {"x": {"jobInputType": "uri_file", "uri": "file:///etc/passwd"}}),
        ("inputs", {"x": {"jobInputType": "uri_file"}}),
        ("inputs", {"x": {"jobInputType": "uri_file", "uri": "../../etc/passwd"}}),
        ("outputs", {"../x": {"jobOutputType": "uri_folder"}}),
        ("outputs", {"x": {"jobOutputType": "uri_folder", "mode": "Sideways"}}),
        ("outputs", {"x": {"jobOutputType": "uri_folder", "uri": "/etc"}}),
        (
            "outputs",
            {"x": {"jobOutputType": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/../../x"}},
        ),
    ],
)
def test_jobs(server: ZaffreServer, raw: Raw, field: str, value: Any) -> None:
    before = rows(server)
    name = f"spoiled-{hashlib.sha256(repr((field, value)).encode()).hexdigest()[:8]}"
    answer = put(raw, server, "workspaces/jobs", spoil("workspaces/jobs", field, value), name)
    refused(answer, 400, 404, names=field.partition(".")[0])
    assert rows(server) == before


@pytest.mark.parametrize("path", ["/jobs/big", "/tracking"])
def test_ten_gigabytes_are_declared(server: ZaffreServer, path: str) -> None:
    """The answer comes before the body would."""
    target = server.scope + path if path == "/jobs/big" else f"/tracking{server.scope}/api/2.0/mlflow/runs/create"
    verb = "PUT" if path == "/jobs/big" else "POST"
    token = server.credentials["api_key"]
    head = f"{verb} {target}?{ARM} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 10737418240\r\n\r\n{{"
    answer = exchange(server, head.encode())
    assert answer.split(b"\r\n")[0].split()[1] == b"413"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil\r\nHost: localhost\r\n\r\n",
    ],
    ids=[
        "long header",
        "long address",
        "negative length",
        "length beyond numbers",
        "two lengths",
        "no chunk",
        "no host",
        "no HTTP",
        "NUL",
        "two hosts",
    ],
)
def test_requests_that_are_no_http(server: ZaffreServer, head: bytes) -> None:
    answer = exchange(server, head)
    assert answer[9:10] == b"4", answer[:300]
    assert b"Traceback" not in answer


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:1", "", "a b", "evil.example/x"])
def test_links_never_point_to_a_foreign_host(server: ZaffreServer, host: str) -> None:
    """The Host header is the client's to write, but only our own names come back in addresses."""
    head = f"GET /metadata/endpoints?api-version=2019-05-01 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    answer = exchange(server, head.encode())
    assert b"evil" not in answer and (b"localhost" in answer or answer[9:10] == b"4")


def exchange(server: ZaffreServer, sent: bytes) -> bytes:
    """What the server answers to these very bytes."""
    context = ssl.create_default_context(cafile=str(server.home / "bundle.pem"))
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        found = b""
        try:
            connection.sendall(sent)
            while b"\r\n\r\n" not in found or len(found) < 65536:
                part = connection.recv(65536)
                if not part:
                    break
                found += part
                head, _, body = found.partition(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")),
                    None,
                )
                if length is not None and len(body) >= length:
                    break
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            pass  # it answered and closed before it had read all
        return found

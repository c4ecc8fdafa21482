"""Routes: what is looked up is what was asked, encoded or not."""

from __future__ import annotations

import pytest
from starlette.responses import Response

from zaffre.errors import InvalidInput
from zaffre.gateway.call import Call
from zaffre.gateway.routes import WORKSPACE, Route, Router, decode_part


async def _handler(_call: Call) -> Response:
    return Response()


def _route(method: str, template: str, operation: str) -> Route:
    return Route(protocol="t", method=method, template=template, handler=_handler, operation=operation)


ROUTER = Router(
    [
        _route("GET", f"{WORKSPACE}/data", "list"),
        _route("GET", f"{WORKSPACE}/data/{{name}}", "get"),
        _route("PUT", f"{WORKSPACE}/data/{{name}}", "put"),
        _route("GET", f"{WORKSPACE}/data/{{name}}/versions/latest", "latest"),
        _route("GET", f"{WORKSPACE}/data/{{name}}/versions/{{version}}", "version"),
        _route("GET", "/logs/{run}/{path*}", "log"),
    ]
)
BASE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


@pytest.mark.parametrize(
    ("path", "operation", "last"),
    [
        (f"{BASE}/data", "list", {"workspaceName": "w"}),
        (f"{BASE.lower()}/DATA/Name", "get", {"name": "Name"}),
        (
            f"/{BASE}/data",
            "list",
            {"workspaceName": "w"},
        ),  # as `az cloud register` asks when its address ends in a slash
        (f"{BASE}/data/a%2Fb", "get", {"name": "a/b"}),
        (f"{BASE}/data/a%252Fb", "get", {"name": "a%2Fb"}),
        (f"{BASE}/data/n/versions/latest", "latest", {"name": "n"}),
        (f"{BASE}/data/n/versions/1", "version", {"version": "1"}),
        ("/logs/r/user_logs/a%2Fb.txt", "log", {"path": "user_logs/a%2Fb.txt"}),
    ],
)
def test_finds(path: str, operation: str, last: dict[str, str]) -> None:
    route, params, _ = ROUTER.find("GET", path)
    assert route is not None
    assert route.operation == operation
    assert last.items() <= params.items()


@pytest.mark.parametrize("path", [f"{BASE}/data/", f"{BASE}/data//versions/1", "/", "", f"{BASE}/data/n/versions"])
def test_finds_nothing(path: str) -> None:
    assert ROUTER.find("GET", path)[0] is None


def test_names_the_verbs_a_path_takes() -> None:
    assert ROUTER.find("DELETE", f"{BASE}/data/n")[2] == {"GET", "PUT"}


def test_two_routes_of_one_address_are_refused() -> None:
    with pytest.raises(ValueError, match="Two routes"):
        Router([_route("GET", "/a/{x}", "one"), _route("GET", "/A/{y}", "two")])


@pytest.mark.parametrize("part", ["%FF", "a%00b", "%C3%28"])
def test_what_is_no_text_is_refused(part: str) -> None:
    with pytest.raises(InvalidInput):
        decode_part(part)


def test_a_path_asked_again_is_found_the_same_whatever_was_done_with_the_first_answer() -> None:
    path = f"{BASE}/data/n/versions/1"
    first, params, _ = ROUTER.find("GET", path)
    params["version"] = "another"
    assert ROUTER.find("GET", path)[:2] == (first, {**params, "version": "1"})
    assert ROUTER.find("PUT", path) == (None, {}, {"GET"})

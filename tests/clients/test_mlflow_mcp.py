"""The MCP registry: what MLflow's own client finds here is what it finds on MLflow's own server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import mlflow_peer
from tests.support.mlflow_flow import flow, run_script
from tests.support.zaffre_server import ZaffreServer

SCRIPT = Path(__file__).parent / "scripts" / "mlflow_mcp.py"


def test_it_is_as_mlflows_own(client_environment: ZaffreServer, newest_mlflow: Path, tmp_path: Path) -> None:
    uri = client_environment.variables["MLFLOW_TRACKING_URI"]
    ours = flow(newest_mlflow, client_environment, "mcp", uri, script=SCRIPT)
    with mlflow_peer.serving(newest_mlflow, tmp_path) as peer:
        theirs = run_script(newest_mlflow, SCRIPT, {**os.environ, "MLFLOW_TRACKING_URI": peer})
    for part, answers in theirs.items():
        if not isinstance(answers, dict):
            continue
        for what, answer in answers.items():
            assert ours[part][what] == answer, f"{part}: {what}"


@pytest.fixture
def address(client_environment: ZaffreServer) -> str:
    return f"{client_environment.variables['MLFLOW_TRACKING_URI']}/api/3.0/mlflow/mcp-servers"


@pytest.fixture
def token(client_environment: ZaffreServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {client_environment.variables['MLFLOW_TRACKING_TOKEN']}"}


def test_a_name_may_be_written_with_its_slash(address: str, token: dict[str, str]) -> None:
    made = requests.post(address, json={"name": "net.plain/slash", "description": "d"}, headers=token, timeout=30)
    assert made.status_code == 200 and made.json()["created_by"]
    for path in ("net.plain/slash", "net.plain%2Fslash"):
        assert requests.get(f"{address}/{path}", headers=token, timeout=30).json() == made.json()
        answer = requests.get(f"{address}/{path}/versions", headers=token, timeout=30)
        assert answer.json() == {"mcp_server_versions": [], "next_page_token": None}
    assert requests.get(f"{address}/endpoints", headers=token, timeout=30).json()["mcp_access_endpoints"] == []
    again = requests.post(address, json={"name": "net.plain/slash"}, headers=token, timeout=30)
    assert (again.status_code, again.json()["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")
    assert requests.delete(f"{address}/net.plain/slash", headers=token, timeout=30).json() == {}


def test_versions_are_sorted_by_precedence(address: str, token: dict[str, str]) -> None:
    """MLflow's own server does not understand this order, which its documentation names (3.17)."""
    path = f"{address}/net.plain%2Fsorted/versions"
    rising = [
        "0.9.12",
        "0.10.0",
        "1.0.0-2",
        "1.0.0-11",
        "1.0.0-alpha.2",
        "1.0.0-alpha.10",
        "1.0.0-beta",
        "1.0.0",
        "10.0.0",
    ]
    for number in sorted(rising):
        body = {"server_json": {"name": "net.plain/sorted", "version": number}}
        assert requests.post(path, json=body, headers=token, timeout=30).status_code == 200
    for order, expected in (("version", rising), ("version DESC", rising[::-1])):
        found: list[str] = []
        query: dict[str, Any] | None = {"order_by": order, "max_results": 4}
        while query is not None:
            page = requests.get(path, params=query, headers=token, timeout=30).json()
            found += [one["version"] for one in page["mcp_server_versions"]]
            query = {**query, "page_token": page["next_page_token"]} if page["next_page_token"] else None
        assert found == expected
    latest = requests.get(f"{address}/net.plain/sorted", headers=token, timeout=30).json()
    assert latest["latest_version"] == "10.0.0"


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "", {"name": 1}, "name"),
        ("POST", "", {"name": "x" * 300 + "/y"}, "name"),
        ("POST", "", {"name": "com.bad/icons", "icons": [{"src": 1}]}, "icons[0].src"),
        ("POST", "", {"name": "com.bad/icons", "icons": [{"src": "https://a"}] * 101}, "icons"),
        ("PATCH", "/com.bad/xx", {"latest_version": "1.0.0"}, "latest_version"),
        ("PATCH", "/com.bad/xx", {"display_name": "x" * 257}, "display_name"),
        ("POST", "/com.bad/xx/versions", {"server_json": {"name": "com.bad/xx"}}, "version"),
        (
            "POST",
            "/com.bad/xx/versions",
            {"server_json": {"name": "com.bad/yy", "version": "1.0.0"}},
            "server_json.name",
        ),
        ("POST", "/com.bad/xx/versions", {"server_json": {"name": "com.bad/xx", "version": "١.0.0"}}, "version"),
        (
            "POST",
            "/com.bad/xx/versions",
            {"server_json": {"name": "com.bad/xx", "version": "1.0.0", "packages": [{"identifier": "a"}]}},
            "packages[0]",
        ),
        (
            "POST",
            "/com.bad/xx/versions",
            {"server_json": {"name": "com.bad/xx", "version": "1.0.0"}, "tools": [{"title": "no name"}]},
            "tools[0].name",
        ),
        (
            "POST",
            "/com.bad/xx/versions",
            {"server_json": {"name": "com.bad/xx", "version": "1.0.0"}, "status": "new"},
            "status",
        ),
        ("PATCH", "/com.bad/xx/versions/1.0.0", {"status": None}, "status"),
        (
            "POST",
            "/com.bad/xx/endpoints",
            {"url": "https://x", "transport_type": "tcp", "server_alias": "a"},
            "transport",
        ),
        ("POST", "/com.bad/xx/endpoints", {"server_alias": "a"}, "url"),
        ("PATCH", "/com.bad/xx/endpoints/ae-1", {"url": None}, "url"),
        ("PATCH", "/com.bad/xx/endpoints/ae-1", {"server_alias": "a", "server_version": "1.0.0"}, "server_version"),
        ("POST", "/com.bad/xx/tags", {"key": "", "value": "v"}, "key"),
        ("POST", "/com.bad/xx/tags", {"key": "k", "value": "v" * 5001}, "value"),
        ("POST", "/com.bad/xx/aliases", {"alias": " ", "version": "1.0.0"}, "alias"),
        ("GET", "?page_token=x", None, "page_token"),
        ("GET", "?max_results=many", None, "max_results"),
    ],
)
def test_nonsense_is_named(address: str, token: dict[str, str], method: str, path: str, body: Any, field: str) -> None:
    answer = requests.request(method, address + path, json=body, headers=token, timeout=30)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE" and field in answer.json()["message"]

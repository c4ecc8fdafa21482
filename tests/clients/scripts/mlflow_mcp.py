"""MLflow's MCP registry by its own client. Prints `FOUND {…}` with nothing in it that differs from server to server; mlflow 3.17 on."""

from __future__ import annotations

import json
import sys
from typing import Any

import mlflow
from mlflow.entities.mcp_server import MCPTool
from mlflow.entities.mcp_server_version import ConnectOptionSettings
from mlflow.exceptions import MlflowException
from mlflow.genai import mcp_servers as mcp

NAME = "com.example/weather"
ICON = {"src": "https://93.184.216.34/a.png", "mimeType": "image/png", "sizes": ["48x48"]}
DARK = {"src": "https://93.184.216.34/b.png", "theme": "dark", "x-more": 1}
REMOTE = {"type": "streamable-http", "url": "https://weather.example.com/mcp"}
PACKAGE = {
    "registryType": "npm",
    "identifier": "@example/weather",
    "transport": {"type": "stdio"},
    "environmentVariables": [{"name": "TOKEN", "isSecret": True}],
}


def refused(work: Any, *args: Any, **kwargs: Any) -> str:
    """The code, as words are each server's own."""
    try:
        work(*args, **kwargs)
    except MlflowException as error:
        return str(error.error_code)
    raise AssertionError("it was not refused")


def document(version: str, name: str = NAME, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": version, "description": f"about {version}", "x": {"kept": [1, None]}, **more}


def server(one: Any) -> list[Any]:
    return [
        one.name, one.display_name, one.description, one.icons, one.status and str(one.status), one.latest_version,
        one.aliases, one.tags, sorted(endpoint(e) for e in one.access_endpoints),
    ]  # fmt: skip


def version(one: Any) -> list[Any]:
    return [
        one.name, one.version, one.server_json, str(one.status), [tool.to_dict() for tool in one.tools or []],
        sorted(one.aliases), one.tags, {k: v.hidden for k, v in one.connect_options.items()}, one.source,
    ]  # fmt: skip


def endpoint(one: Any) -> list[Any]:
    resolved = one.resolved_version
    return [
        one.server_name, one.url, str(one.transport_type), one.server_version or "", one.server_alias or "",
        resolved.version if resolved else "",
    ]  # fmt: skip


def register(number: str, **more: Any) -> Any:
    given = {"tools": None, **more}
    return mcp.register_mcp_server(document(number, **given.pop("document", {})), **given)


def versions() -> dict[str, Any]:
    tools = [
        MCPTool(name="today", title="Today", input_schema={"type": "object", "properties": {"city": {}}}, icons=[ICON]),
        MCPTool(name="tomorrow", annotations={"readOnlyHint": True}, execution={"taskSupport": "optional"}),
    ]
    made = register(
        "1.0.0", document={"icons": [ICON, DARK], "remotes": [REMOTE], "packages": [PACKAGE]}, source="git", tools=tools
    )
    same = refused(register, "1.0.0")
    for number in ("1.0.0-alpha.10", "1.0.0-alpha.2", "1.0.0-beta", "0.9.12", "0.10.0", "1.0.0+build.7"):
        register(number)
    draft = server(mcp.get_mcp_server(NAME))
    active = mcp.update_mcp_server_version(NAME, "0.9.12", status="active")
    speaks = server(mcp.get_mcp_server(NAME))
    changed = mcp.update_mcp_server_version(
        NAME, "0.9.12", tools=[MCPTool(name="one")], connect_options={"npm": ConnectOptionSettings(hidden=True)}
    )
    cleared = mcp.update_mcp_server_version(NAME, "0.9.12", tools=None, connect_options=None)
    return {
        "made": version(made),
        "same": same,
        "draft": draft,
        "active": version(active),
        "speaks": speaks,
        "changed": version(changed),
        "cleared": version(cleared),
        "wrong": [
            refused(register, number) for number in ("1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "2147483648.0.0")
        ],
        "steps": [
            refused(mcp.update_mcp_server_version, NAME, "0.9.12", status=status) for status in ("active", "deleted")
        ],
        "unknown": refused(mcp.update_mcp_server_version, NAME, "9.9.9", status="active"),
        "deprecated": refused(register, "3.0.0", status="deprecated"),
    }


def searches() -> dict[str, Any]:
    def numbers(filter_: str | None = None, *order: str) -> list[str]:
        found, token = [], None
        while True:
            page = mcp.search_mcp_server_versions(
                NAME, filter_string=filter_, max_results=3, order_by=list(order) or None, page_token=token
            )
            found += [one.version for one in page]
            token = page.token
            if not token:
                return found

    def names(filter_: str | None = None, *order: str) -> list[str]:
        return [one.name for one in mcp.search_mcp_servers(filter_string=filter_, order_by=list(order) or None)]

    for name in ("org.other/bb", "org.other/aa"):
        mcp.register_mcp_server(document("1.0.0", name=name), status="draft", tools=[])
    mcp.set_mcp_server_tag("org.other/aa", "team", "sun")
    return {
        "as they were made": numbers(),
        "the last first": numbers(None, "created_at DESC", "last_updated_at"),
        "older": sorted(numbers("version < '1.0.0-beta'")),
        "newer": sorted(numbers("version >= '1.0.0'")),
        "equal": numbers("version = '1.0.0'"),
        "active": numbers("status = 'active'"),
        "of nobody": [one.version for one in mcp.search_mcp_server_versions("no.such/one")],
        "names": names(),
        "down": names(None, "name DESC"),
        "like": names("name LIKE 'org.%'"),
        "status": names("status = 'active'"),
        "tag": names("tags.team = 'sun'"),
        "one of": names("name IN ('org.other/bb', 'com.example/weather')"),
        "reached": names("has_access_endpoints = 'true'"),
        "not reached": names("has_access_endpoints = 'false'"),
        "bad": [
            refused(names, "nothing = 'x'"),
            refused(names, None, "status ASC"),
            refused(names, None, "name ASC", "name DESC"),
            refused(names, "has_access_endpoints LIKE 'true'"),
            refused(numbers, "version LIKE '1%'"),
            refused(mcp.search_mcp_servers, max_results=1001),
            refused(mcp.search_mcp_servers, max_results=0),
        ],
    }


def servers() -> dict[str, Any]:
    changed = mcp.update_mcp_server(
        NAME, display_name="Weather", description="ours", icons=[{**DARK, "source": "server"}]
    )
    cleared = mcp.update_mcp_server(NAME, description=None, icons=[])
    return {
        "changed": server(changed),
        "cleared": server(cleared),
        "names": [
            refused(mcp.register_mcp_server, document("1.0.0", name=name), tools=None)
            for name in ("weather", "a/b/c", "com.example/", "com.example/tags", "com.ex ample/x", "-a.b/c")
        ],
        "icons": [
            refused(mcp.update_mcp_server, NAME, icons=[icon])
            for icon in (
                {},
                {"src": "http://93.184.216.34/a.png"},
                {"src": "https://127.0.0.1/a.png"},
                {"src": "https://me:it@93.184.216.34/a.png"},
                {**ICON, "mimeType": "text/html"},
                {**ICON, "source": "version"},
            )
        ],
        "busy": refused(mcp.delete_mcp_server, NAME),
        "gone": refused(mcp.get_mcp_server, "no.such/one"),
    }


def names_for_versions() -> dict[str, Any]:
    mcp.set_mcp_server_alias(NAME, "prod", "1.0.0")
    mcp.set_mcp_server_alias(NAME, "prod", "0.10.0")
    mcp.set_mcp_server_alias(NAME, "old", "0.10.0")
    mcp.set_mcp_server_tag(NAME, "a key/with", "ü")
    mcp.set_mcp_server_tag(NAME, "two", "2")
    mcp.delete_mcp_server_tag(NAME, "two")
    mcp.set_mcp_server_version_tag(NAME, "0.10.0", "k", "v")
    mcp.set_mcp_server_version_tag(NAME, "0.10.0", "gone", "v")
    mcp.delete_mcp_server_version_tag(NAME, "0.10.0", "gone")
    return {
        "prod": version(mcp.get_mcp_server_version_by_alias(NAME, "prod")),
        "latest": mcp.get_latest_mcp_server_version(NAME).version,
        "server": server(mcp.get_mcp_server(NAME)),
        "refused": [
            refused(mcp.set_mcp_server_alias, NAME, "latest", "1.0.0"),
            refused(mcp.set_mcp_server_alias, NAME, "prod", "9.9.9"),
            refused(mcp.get_mcp_server_version_by_alias, NAME, "none"),
            refused(mcp.delete_mcp_server_alias, NAME, "none"),
            refused(mcp.delete_mcp_server_tag, NAME, "none"),
            refused(mcp.delete_mcp_server_version_tag, NAME, "0.10.0", "none"),
            refused(mcp.set_mcp_server_tag, "no.such/one", "k", "v"),
        ],
    }


def endpoints() -> dict[str, Any]:
    direct = mcp.create_mcp_access_endpoint(NAME, url="https://a.example.com/mcp", server_version="1.0.0")
    prod = mcp.create_mcp_access_endpoint(
        NAME, url="https://b.example.com/sse", transport_type="sse", server_alias="prod"
    )
    latest = mcp.create_mcp_access_endpoint(NAME, url="https://c.example.com/mcp", server_alias="latest")

    def found(**more: Any) -> list[Any]:
        return sorted(endpoint(one) for one in mcp.search_mcp_access_endpoints(**more))

    kept = found()
    moved = mcp.update_mcp_access_endpoint(NAME, direct.id, server_alias="old", url="https://d.example.com/mcp")
    back = mcp.update_mcp_access_endpoint(NAME, direct.id, server_version="0.9.12", transport_type="sse")
    answers = {
        "made": [endpoint(one) for one in (direct, prod, latest)],
        "same": endpoint(mcp.get_mcp_access_endpoint(NAME, direct.id)) == endpoint(back),
        "kept": kept,
        "moved": endpoint(moved),
        "back": endpoint(back),
        "of server": found(server_name=NAME) == found(),
        "of alias": found(server_alias="prod"),
        "of version": found(server_version="0.9.12"),
        "active": found(filter_string="status = 'active'"),
        "sse": found(filter_string="transport_type = 'sse'"),
        "server": server(mcp.get_mcp_server(NAME)),
        "reached": [one.name for one in mcp.search_mcp_servers(filter_string="has_access_endpoints = 'true'")],
        "refused": [
            refused(mcp.create_mcp_access_endpoint, NAME, url=" ", server_alias="latest"),
            refused(mcp.create_mcp_access_endpoint, NAME, url="https://x", server_alias="none"),
            refused(mcp.create_mcp_access_endpoint, NAME, url="https://x", server_version="9.9.9"),
            refused(mcp.create_mcp_access_endpoint, NAME, url="https://x"),
            refused(mcp.create_mcp_access_endpoint, "no.such/one", url="https://x", server_alias="latest"),
            refused(mcp.get_mcp_access_endpoint, NAME, "ae-none"),
            refused(mcp.get_mcp_access_endpoint, "org.other/aa", direct.id),
            refused(mcp.delete_mcp_access_endpoint, NAME, "ae-none"),
        ],
    }
    # A version that goes takes its aliases along, and what was reached by them.
    mcp.delete_mcp_server_version(NAME, "0.10.0")
    answers["after a version"] = [server(mcp.get_mcp_server(NAME)), refused(mcp.get_mcp_server_version, NAME, "0.10.0")]
    answers["its number"] = refused(register, "0.10.0")
    answers["an active one"] = refused(mcp.delete_mcp_server_version, NAME, "0.9.12")
    mcp.delete_mcp_access_endpoint(NAME, latest.id)
    mcp.set_mcp_server_alias(NAME, "stays", "1.0.0")
    mcp.create_mcp_access_endpoint(NAME, url="https://e.example.com/mcp", server_alias="stays")
    mcp.delete_mcp_server_alias(NAME, "stays")
    answers["after an alias"] = found()
    mcp.create_mcp_access_endpoint("org.other/bb", url="https://f.example.com/mcp", server_alias="latest")
    mcp.delete_mcp_server_version("org.other/bb", "1.0.0")
    answers["after the last"] = [server(mcp.get_mcp_server("org.other/bb")), found(server_name="org.other/bb")]
    mcp.update_mcp_server_version(NAME, "0.9.12", status="draft")
    mcp.delete_mcp_server(NAME)
    answers["in the end"] = [[one.name for one in mcp.search_mcp_servers()], found()]
    return answers


def main() -> None:
    answers = {
        "versions": versions(),
        "searches": searches(),
        "servers": servers(),
        "names": names_for_versions(),
        "endpoints": endpoints(),
    }
    print("FOUND " + json.dumps({"version": mlflow.__version__, **answers}))


if __name__ == "__main__":
    sys.exit(main())

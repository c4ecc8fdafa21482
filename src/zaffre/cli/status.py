"""`zaffre status`: what runs, for people and, with `--json`, for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from zaffre import profiles
from zaffre.cli import options
from zaffre.profiles import ClientError, Profile
from zaffre.remote import API_VERSION, Remote, RemoteError
from zaffre.settings import default_home
from zaffre.supervisor import client

_OVER = ("Completed", "Failed", "Canceled")
_PAGES = 10
_PER_PAGE = 100


@click.command()
@options.server
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def command(home: Path | None, profile: str | None, as_json: bool) -> None:
    """What runs: address, processes, jobs, endpoints. Ends with 1 when nothing does."""
    meant = _meant(home, profile)
    if meant is not None and meant.home is None:
        report = {"running": True, **_who(meant), **_work(meant)}
        click.echo(json.dumps(report, indent=1) if as_json else "\n".join(_lines(report)))
        return
    folder = Path(meant.home) if meant and meant.home else (home or default_home()).expanduser().absolute()
    found = client.status(folder)
    if found is None:
        click.echo(json.dumps({"running": False, "home": str(folder)}) if as_json else f"No Zaffre runs on {folder}.")
        sys.exit(1)
    report = {"running": True, "home": str(folder), **found, "jobs": [], "endpoints": []}
    if found["application"]["ready"]:
        try:
            report |= _work(profiles.require_running(profiles.of_home(folder)))
        except RemoteError as error:
            report["error"] = str(error)
    click.echo(json.dumps(report, indent=1) if as_json else "\n".join(_lines(report)))


def _meant(home: Path | None, name: str | None) -> Profile | None:
    """The server that is meant; None when nothing has run on its home yet, which is an answer here."""
    try:
        return profiles.resolve(home, name)
    except ClientError:
        if name is not None:
            raise
        return None


def _who(profile: Profile) -> dict[str, Any]:
    me = Remote(profile).call("GET", "/zaffre/v1/me")
    return {"address": profile.address, "you": f"{me['name']} ({me['role']})", "workspace": profile.workspace}


def _work(profile: Profile) -> dict[str, Any]:
    """The jobs that are not over, among the newest thousand of each workspace, and the online endpoints."""
    remote = Remote(profile)
    provider = "providers/Microsoft.MachineLearningServices/workspaces"
    jobs: list[dict[str, Any]] = []
    endpoints: list[dict[str, Any]] = []
    subscriptions = [one["id"] for one in _all(remote, "/subscriptions")]
    for workspace in (one for id_ in subscriptions for one in _all(remote, f"{quote(id_)}/{provider}")):
        for job in _all(remote, f"{quote(workspace['id'])}/jobs", "&listViewType=All&$top=" + str(_PER_PAGE)):
            status = job["properties"].get("status")
            if status not in _OVER:
                jobs.append({"name": job["name"], "status": status, "workspace": workspace["name"]})
        for endpoint in _all(remote, f"{quote(workspace['id'])}/onlineEndpoints"):
            properties = endpoint["properties"]
            endpoints.append(
                {
                    "name": endpoint["name"],
                    "state": properties.get("provisioningState"),
                    "scoring_uri": properties.get("scoringUri"),
                    "traffic": properties.get("traffic") or {},
                    "workspace": workspace["name"],
                }
            )
    return {"jobs": jobs, "endpoints": endpoints}


def _all(remote: Remote, path: str, query: str = "") -> list[dict[str, Any]]:
    """The pages of a list, the first ten of them."""
    found: list[dict[str, Any]] = []
    following: str | None = f"{path}?api-version={API_VERSION}{query}"
    for _ in range(_PAGES):
        if not following:
            break
        page = remote.call("GET", following)
        found += page.get("value", [])
        following = page.get("nextLink")
    return found


def _lines(report: dict[str, Any]) -> list[str]:
    lines = _processes(report) if "application" in report else _place(report)
    lines.append(f"  jobs         {len(report['jobs']) or 'none'} running or waiting")
    lines += [f"    {one['name']}  {one['status']}  ({one['workspace']})" for one in report["jobs"]]
    lines.append(f"  endpoints    {len(report['endpoints']) or 'none'}")
    for one in report["endpoints"]:
        traffic = ", ".join(f"{name} {share} %" for name, share in one["traffic"].items()) or "no traffic"
        lines.append(f"    {one['name']}  {one['state']}  {one['scoring_uri']}  ({one['workspace']}; {traffic})")
    if "error" in report:
        lines.append(f"  The application does not say what it does: {report['error']}")
    return lines


def _place(report: dict[str, Any]) -> list[str]:
    """A server on another host shows none of its processes."""
    return [
        f"Zaffre runs at {report['address']}",
        f"  you          {report['you']}",
        f"  workspace    {report['workspace']}",
    ]


def _processes(report: dict[str, Any]) -> list[str]:
    application, nginx = report["application"], report["nginx"]
    state = "ready" if application["ready"] else "starting"
    again = f", restarts: {application['restarts']}" if application["restarts"] else ""
    lines = [
        f"Zaffre runs at {report['address']} since {report['since']}",
        f"  home         {report['home']}",
        f"  supervisor   pid {report['pid']}",
        f"  application  pid {application['pid']}, {state}{again}",
        "  nginx        none (--no-edge): scoring and notebooks answer 501"
        if nginx is None
        else f"  nginx        pid {nginx['pid']}, {nginx['version']}{', adopted' if nginx['adopted'] else ''}",
    ]
    if "listen" in report:  # a supervisor that was started before an upgrade does not say
        lines += [f"  listens on   {', '.join(report['listen'])}", f"  authority    SHA-256 {report['authority']}"]
    return lines

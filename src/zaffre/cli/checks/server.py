"""The server's side: does it run, is the port its own, is the certificate good, is there room, is nginx safe."""

from __future__ import annotations

import datetime
import json
import re
import shutil
import socket
import ssl
import stat
from pathlib import Path
from urllib.parse import urlsplit

from zaffre import profiles
from zaffre.cli.checks.answers import answers
from zaffre.cli.checks.finding import Finding, good, note, wrong
from zaffre.profiles import ClientError, Profile
from zaffre.remote import Remote, RemoteError
from zaffre.settings import DEFAULT_PORT
from zaffre.supervisor import client
from zaffre.supervisor.errors import ListenError
from zaffre.supervisor.files import Home, read_json
from zaffre.supervisor.listeners import bind, default_hosts, is_loopback
from zaffre.supervisor.nginx_record import NginxRecord

LEAST_FREE = 2 * 1024**3
"""Environments and models are large; with less than this a job soon fails."""

LITTLE_FREE = 10 * 1024**3
EXPIRES_SOON_DAYS = 14

_LOG_TAIL = 4 * 1024 * 1024
_SECRET = re.compile(rb"zf_[A-Za-z0-9_-]{43}|Bearer ey[A-Za-z0-9_-]{20}|[?&]sig=[A-Za-z0-9%]{20}")


def server(profile: Profile) -> tuple[list[Finding], Profile | None]:
    """What is found, and the profile with the address the server has now, or None when none answers."""
    try:
        running = profiles.require_running(profile)
    except ClientError as error:
        return [wrong(str(error)), *_port(Path(profile.home or ""))], None
    findings = [good(f"Zaffre runs at {running.address}.")]
    try:
        Remote(running, timeout=10).call("GET", "/readyz", headers={})
    except RemoteError as error:
        return [*findings, wrong(str(error), _advice(error, running))], None
    findings += _certificate(running)
    findings += answers(running)
    return findings, running


def machine(home: Path) -> list[Finding]:
    """Disk, permissions and nginx."""
    findings = _disk(home)
    if home.is_dir():
        findings += _permissions(home)
        findings += _logs(home)
    return findings + _nginx(home)


def _port(home: Path) -> list[Finding]:
    """Whether the next start would get its port."""
    remembered = read_json(home / "run" / "address.json") or {}
    port = int(remembered.get("port", DEFAULT_PORT))
    try:
        bind(tuple(remembered.get("hosts", ())) or default_hosts(), port).close()
    except (ListenError, OSError) as error:
        left = NginxRecord.read(Home(home))
        if left is not None and left.identity.alive():  # the supervisor was killed
            text = f"Its nginx (pid {left.identity.pid}) still listens on port {port}, and scoring goes on."
            return [note(text, "`zaffre up` takes it over.")]
        return [wrong(f"Port {port} is not free: {error}", "Stop what listens there, or `zaffre up --port N`.")]
    return [good(f"Port {port} is free for the next start.")]


def _certificate(profile: Profile) -> list[Finding]:
    parts = urlsplit(profile.address)
    context = ssl.create_default_context(cafile=profile.bundle)
    with (
        socket.create_connection((parts.hostname or "", parts.port or 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as connection,
    ):
        certificate = connection.getpeercert() or {}
    ends = datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), datetime.UTC)
    days = (ends - datetime.datetime.now(datetime.UTC)).days
    if days < EXPIRES_SOON_DAYS:
        return [
            note(
                f"The server's certificate expires in {days} days.",
                "It is renewed while the server runs; look at its log.",
            )
        ]
    return [good(f"The certificate is trusted with {profile.bundle}, and good for {days} days.")]


def _disk(home: Path) -> list[Finding]:
    place = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / 1024**3:.1f} GiB are free at {place}"
    if free < LEAST_FREE:
        return [wrong(f"Only {text}.", "Make room: environments, models and job folders need it.")]
    if free < LITTLE_FREE:
        return [note(f"Only {text}; an environment with a deep-learning framework takes 5 GiB and more.")]
    return [good(f"{text}.")]


def _permissions(home: Path) -> list[Finding]:
    open_ones = [
        path
        for path in (home, home / "credentials", home / "keys", home / "ca" / "ca.key", home / "zaffre.db")
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_ones:
        names = ", ".join(map(str, open_ones))
        return [wrong(f"Others may read {names}.", f"chmod go= {' '.join(map(str, open_ones))}")]
    return [good(f"{home} is closed to others.")]


def _logs(home: Path) -> list[Finding]:
    """Requests carry live tokens in their headers; none may end in a log, whoever wrote it."""
    found = []
    for path in sorted((home / "logs").glob("*.log")):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL))
            if _SECRET.search(file.read()):
                found.append(str(path))
    if not found:
        return []
    advice = "Remove the file, revoke the key (`zaffre key revoke`), and report it: this must not happen."
    return [wrong(f"A key or a token stands in {', '.join(found)}.", advice)]


def _nginx(home: Path) -> list[Finding]:
    from zaffre.edge.binary import find_nginx, judge
    from zaffre.edge.errors import NginxMissingError

    running = client.status(home)
    if running is not None and running["nginx"] is None:
        return [note("The server runs without nginx (--no-edge): scoring and notebooks answer 501.")]
    try:
        found = find_nginx()
    except NginxMissingError as error:
        return [wrong(str(error))]
    safety = judge(found)
    text = f"nginx {found.version_text} ({found.path}): {safety.reason}"
    if safety.safe is False:
        hosts = [host for host in _hosts(home) if not is_loopback(host)]
        if hosts:
            return [wrong(f"{text}, and {', '.join(hosts)} can be reached by others.", "Install a newer nginx.")]
        return [
            note(f"{text}.", "On this machine alone that is accepted; before others may reach it, install a newer one.")
        ]
    return [note(f"{text}.") if safety.safe is None else good(f"{text}.")]


def _hosts(home: Path) -> list[str]:
    try:
        return list(json.loads((home / "run" / "address.json").read_bytes())["hosts"])
    except (OSError, ValueError, KeyError):
        return []


def _advice(error: RemoteError, profile: Profile) -> str:
    text = str(error)
    if "expired" in text:
        return "Restart the server (`zaffre down && zaffre up`): it renews its certificate at start."
    if "not trusted" in text:
        return f"Another program may answer there, or {profile.bundle} is of another server; restart to write it anew."
    if error.status >= 500:
        return f"Look at {profile.home or 'the server'}/logs/server.log."
    return ""

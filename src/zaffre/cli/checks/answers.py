"""What the server answers, looked at as the clients' parsers do: mistakes here make them fail far away, or in silence."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from typing import Any
from urllib.parse import quote

from zaffre.cli.checks.finding import Finding, good, note, wrong
from zaffre.profiles import Profile
from zaffre.remote import API_VERSION, Remote, RemoteError

AUDIENCE = "https://ml.azure.com"
CLOCK_NOTE_S = 60
CLOCK_WRONG_S = 300
"""A token is refused when its times are further off than this."""

_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.MachineLearningServices/workspaces/[^/]+"
)
_SAMPLE = re.compile(r'zaffre_requests_total\{operation="(\w+)",protocol="\w+",status="(\d+)"\} ([0-9.e+]+)')


def answers(profile: Profile) -> list[Finding]:
    """The key and its token, the names the server gives itself, the workspace, and what failed since its start."""
    remote = Remote(profile, timeout=10)
    found = _token(remote)
    if any("refused" in one.text for one in found):
        return found
    return [*found, *_names(profile, remote), *_workspace(profile, remote), *_failures(profile, remote)]


def _token(remote: Remote) -> list[Finding]:
    """The SDK decodes tokens itself: a wrong audience or padding stops jobs with a user's identity, AutoML and pipelines."""
    try:
        token, _ = remote.token(AUDIENCE)
    except RemoteError as error:
        advice = "Use --home, or make another on the server: `zaffre key create NAME`, then `zaffre login`."
        return [wrong(f"The key of this profile is refused: {error}", advice)]
    claims = _claims(token)
    if claims is None or claims.get("aud") != AUDIENCE:
        text = f"The server's tokens are not what azure-ai-ml decodes: a JWT whose audience is exactly {AUDIENCE}."
        return [wrong(text, "Does something in front of the server change its answers?")]
    found = [good("The key is accepted.")]
    ahead = int(time.time() - float(claims.get("iat", 0)))
    if abs(ahead) > CLOCK_NOTE_S:
        say = wrong if abs(ahead) > CLOCK_WRONG_S else note
        text = f"This machine's clock is {abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} the server's."
        found.append(say(text, "Set both by NTP: tokens and signatures of storage are judged by their times."))
    return found


def _names(profile: Profile, remote: Remote) -> list[Finding]:
    """Clients go where these addresses point, and ask for them without a credential."""
    try:
        planes = remote.call("GET", f"/discovery{quote(profile.scope)}", headers={})
    except RemoteError as error:
        return [wrong(f"The discovery document is not answered without a credential, as the SDK asks for it: {error}")]
    others = sorted({str(value) for value in planes.values() if not f"{value}/".startswith(f"{profile.address}/")})
    if others:
        text = f"The server is asked at {profile.address}, but sends clients to {', '.join(others)}: uploads and jobs will fail."
        return [
            wrong(text, "Start it with `zaffre up --name HOST`, and let what stands in front pass Host and port on.")
        ]
    return []


def _workspace(profile: Profile, remote: Remote) -> list[Finding]:
    try:
        found = remote.call("GET", f"{quote(profile.scope)}?api-version={API_VERSION}")
    except RemoteError as error:
        if error.status == 404:
            return [
                note(
                    f"There is no workspace '{profile.workspace}'.",
                    f"zaffre env --workspace {profile.workspace} makes it.",
                )
            ]
        return [wrong(f"The workspace '{profile.workspace}' cannot be read: {error}")]
    if not _ID.fullmatch(str(found.get("id", ""))):
        text = f"The workspace's id comes back as {found.get('id')}, in another spelling than the SDK's parsers take."
        return [wrong(text, "Does something in front of the server change its answers?")]
    return []


def _failures(profile: Profile, remote: Remote) -> list[Finding]:
    """Clients repeat a 500 ten times before they say anything, so a bug of the server looks like a slow one."""
    try:
        text = remote.text("GET", "/metrics")
    except RemoteError:
        return []  # a server of an earlier version has none, and not every role may read them
    counts: dict[str, dict[str, int]] = {}
    for operation, status, count in _SAMPLE.findall(text):
        if status in ("500", "507"):
            counts.setdefault(status, {})[operation] = int(float(count))
    log = f"{profile.home}/logs/server.log" if profile.home else "the server's log"
    found = []
    if "507" in counts:
        found.append(
            note(
                "Writing has failed since the start because a disk is full.",
                "Make room: `zaffre gc`, or a larger disk.",
            )
        )
    if "500" in counts:
        names = ", ".join(f"{operation} ({count})" for operation, count in sorted(counts["500"].items()))
        found.append(
            note(f"These operations have failed since the start by a fault of the server: {names}.", f"Look at {log}.")
        )
    return found


def _claims(token: str) -> dict[str, Any] | None:
    """The claims, decoded as strictly as PyJWT does it in the SDK; None for what is no such token."""
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        return None
    try:
        decoded = [base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True) for part in parts]
        claims = json.loads(decoded[1])
    except (binascii.Error, ValueError):
        return None
    return claims if isinstance(claims, dict) else None

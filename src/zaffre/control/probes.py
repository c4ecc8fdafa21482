"""What a diagnosis asks of parts that services know nothing of: the edge as clients reach it, and the builder of environments."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import sys
import urllib.error
import urllib.request

import uv

from zaffre.execution.environments.interpreters import find_interpreter
from zaffre.execution.errors import EnvironmentSpecError
from zaffre.services.diagnosis import NAMES, OTHER, Finding
from zaffre.settings import Settings

ANSWER_S = 5.0


async def edge(settings: Settings) -> list[Finding]:
    """One request by the address that clients are told, through name, certificate and nginx."""
    try:
        await asyncio.to_thread(_ask, f"{settings.address}/healthz", str(settings.bundle))
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        message = f"{settings.address} did not answer as clients ask it: {reason}. See <home>/logs and `zaffre doctor`."
        return [Finding(area=NAMES, level="Error", code="AddressNotReachable", message=message)]
    if not settings.edge:
        message = "The server runs without nginx (--no-edge): endpoints cannot be scored."
        return [Finding(area=OTHER, level="Warning", code="NoEdge", message=message)]
    return []


async def environments() -> list[Finding]:
    """Whether environments can be built: uv, and the Python that most ask for."""
    try:
        await asyncio.to_thread(uv.find_uv_bin)
    except FileNotFoundError as error:
        message = f"uv, which builds environments, is missing: {error}. Install it again."
        return [Finding(area=OTHER, level="Error", code="BuilderMissing", message=message)]
    try:
        await asyncio.to_thread(find_interpreter, f"{sys.version_info.major}.{sys.version_info.minor}")
    except EnvironmentSpecError as error:
        return [Finding(area=OTHER, level="Error", code="NoInterpreter", message=str(error))]
    if shutil.which("git") is None:
        message = "git is missing: environments with packages from git repositories cannot be built."
        return [Finding(area=OTHER, level="Warning", code="GitMissing", message=message)]
    return []


def _ask(url: str, bundle: str) -> None:
    context = ssl.create_default_context(cafile=bundle)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(url, timeout=ANSWER_S) as answer:
        answer.read()

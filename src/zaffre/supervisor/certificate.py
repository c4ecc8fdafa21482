"""The server certificate as the supervisor sees it: whether one is due, and a child process that makes it.

Making one needs a crypto library, which this process never loads.
"""

import asyncio
import base64
import hashlib
import sys
import time
from collections.abc import Callable, Sequence

from zaffre.supervisor.errors import SupervisorError
from zaffre.supervisor.files import Home, read_json

_INTERVAL = 12 * 3600.0
_FIRST_LOOK = 60.0


def is_due(home: Home, names: Sequence[str]) -> bool:
    """Whether there is none, or one for other names, or one near its end."""
    note = read_json(home.edge / "tls" / "server.json")
    files = (home.edge / "tls" / "server.pem", home.path / "ca" / "ca.pem", home.path / "bundle.pem")
    if note is None or not all(path.is_file() for path in files):
        return True
    return note.get("asked") != sorted(set(names)) or time.time() > note.get("renew_after", 0)


async def make(home: Home, names: Sequence[str]) -> None:
    """Make what is missing or due; raises `SupervisorError` with the child's words."""
    words = [word for name in names for word in ("--name", name)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "zaffre.edge.certificates", "--home", str(home.path), *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise SupervisorError(f"The certificates could not be made: {errors.decode(errors='replace').strip()}")


def fingerprint(home: Home) -> str | None:
    """SHA-256 of the authority's certificate, as `openssl x509 -fingerprint -sha256` shows it; None when there is none."""
    try:
        text = (home.path / "ca" / "ca.pem").read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    body = "".join(line for line in text.splitlines() if not line.startswith("-----"))
    digest = hashlib.sha256(base64.b64decode(body)).hexdigest().upper()
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))


async def renew(home: Home, names: Sequence[str], log: Callable[[str, str], None]) -> None:
    """Look twice a day, for ever. nginx reads a new certificate by itself, so nothing is reloaded.

    The first look, a minute after the start, also takes over public roots that were updated meanwhile.
    """
    wait = _FIRST_LOOK
    while True:
        await asyncio.sleep(wait)
        wait = _INTERVAL
        try:
            await make(home, names)
        except (SupervisorError, OSError) as error:
            log("ERROR", str(error))

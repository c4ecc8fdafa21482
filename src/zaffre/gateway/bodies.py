"""Large bodies that nginx keeps as files and names, in place of passing them on.

So the bytes are written once, by the process that has them anyway; what is left to the application is to hash the file and to
adopt it. nginx asks on the internal socket whether it shall (`original`, `Gateway.keeps`): what would be refused is refused
before it is sent, as everywhere. Where there is no edge, nobody keeps bodies.
"""

from __future__ import annotations

import re
from pathlib import Path

from zaffre.gateway.call import Call

KEPT = "x-zf-body"  # the edge sets it in every request, whatever a client has sent
TARGET, LENGTH = "x-zf-target", "x-zf-length"
LARGEST = 8 * 1024**3
"""Bytes. A file is hashed when the last of it has come, and meanwhile the client waits: MLflow's for two minutes, which must do on a slow
disk. What is larger goes through the application, which hashes it as it comes."""
_NAME = re.compile(r"[0-9]{10,20}")


def kept(call: Call, folder: Path | None) -> Path | None:
    """The file that the body is in, of those in `folder`; None where it comes with the request.

    nginx removes the file when the request has its answer.
    """
    name = call.headers.get(KEPT, "").rpartition("/")[2]
    return folder / name if folder is not None and _NAME.fullmatch(name) else None


def original(call: Call) -> Call:
    """The upload that nginx asks about."""
    path, _, query = call.headers.get(TARGET, "/").partition("?")
    scope = {**call.scope, "method": "PUT", "path": path, "raw_path": path.encode(), "query_string": query.encode()}
    return Call(scope, call.receive)


def length(call: Call) -> int:
    """How many bytes are to come."""
    told = call.headers.get(LENGTH, "")
    return int(told) if told.isdecimal() else 0

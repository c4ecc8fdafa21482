"""Conda files without conda: the Python they ask for, their `pip:` section, packages mapped to wheels by a table."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from zaffre.execution.errors import EnvironmentSpecError

_PACKAGE = re.compile(r"(?:[\w.-]+::)?(?P<name>[A-Za-z0-9_][\w.-]*)\s*(?P<version>.*)\Z")
_CLAUSE = re.compile(
    r"(?P<operator>===|==|>=|<=|!=|~=|=|>|<)?\s*(?P<version>[0-9][\w+!-]*(?:\.[\w+!-]+)*)(?P<star>\.?\*)?\Z"
)
_MINORS = range(8, 15)  # of Python 3, for ranges like `python>=3.9`


class CondaFile(msgspec.Struct, frozen=True, kw_only=True):
    """`python` is "3.11", or None where the file leaves it open; `requirements` are lines for pip."""

    python: str | None
    requirements: tuple[str, ...]


def read_conda(text: str, default_python: str) -> CondaFile:
    """Read a conda file. Channels, prefix and variables of conda's own are ignored.

    Raises EnvironmentSpecError with the line of malformed YAML, or with the package that has no wheel in our table.
    """
    document = _load(text)
    python: str | None = None
    requirements: list[str] = []
    for entry in document.get("dependencies") or []:
        if isinstance(entry, dict):
            requirements += _pip_lines(entry)
            continue
        match = _PACKAGE.match(str(entry).strip())
        if match is None:
            raise _wrong(f"'{entry}' is not a conda package", str(entry))
        name, version = match["name"].lower(), _without_build(match["version"].strip())
        if name == "python":
            python = _python(version, default_python)
        elif name not in _table()["ignored"]:
            requirements += _wheels(name, version)
    return CondaFile(python=python, requirements=tuple(requirements))


def translate(version: str, package: str) -> str:
    """A conda version clause as pip writes it: `=1.2` is `==1.2.*`, `1.2.*` the same, `>=1,<2` stays."""
    if not version or version == "*":
        return ""
    clauses = []
    for text in version.split(","):
        match = _CLAUSE.match(text.strip())
        if match is None:
            raise _wrong(
                f"The version '{version}' of the conda package '{package}' can't be translated for pip", package
            )
        operator, number, star = match["operator"] or "==", match["version"], match["star"]
        if operator == "=":
            operator, star = "==", ".*"
        if operator not in ("==", "!="):
            star = None  # `>=1.2.*` means `>=1.2`
        clauses.append(f"{operator}{number}{'.*' if star else ''}")
    return ",".join(clauses)


def _load(text: str) -> dict[str, Any]:
    import yaml  # for conda files only: it would cost every start of the application 30 ms

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise _wrong(f"The conda file is not YAML{where}: {problem}") from error
    if not isinstance(document, dict) or not isinstance(document.get("dependencies") or [], list):
        raise _wrong("The conda file has no list of 'dependencies'")
    return document


def _pip_lines(entry: dict[Any, Any]) -> list[str]:
    if set(entry) != {"pip"} or not isinstance(entry["pip"] or [], list):
        raise _wrong(f"The dependency {entry!r} is not understood; only 'pip:' may have a list of its own")
    return [str(line) for line in entry["pip"] or []]


def _without_build(version: str) -> str:
    """`=1.2=py310_0` and `1.2 py310_0` without their build string, which means nothing to a wheel."""
    match = re.match(r"(={1,2}[\w.*+!-]+)=[\w.*-]+\Z", version) or re.match(r"([\w.*+!-]+) +[\w.*-]+\Z", version)
    return match[1] if match else version


def _python(version: str, default: str) -> str | None:
    """The minor version that fits: the default one where it does, else the newest."""
    clauses = [clause.strip() for clause in translate(version, "python").split(",") if clause.strip()]
    fitting = [f"3.{minor}" for minor in _MINORS if all(_fits(minor, clause) for clause in clauses)]
    if not fitting:
        raise _wrong(f"The conda file asks for python{version}; no Python 3 from 3.{_MINORS[0]} on fits that", "python")
    if default in fitting:
        return default if clauses else None
    return fitting[-1]


def _fits(minor: int, clause: str) -> bool:
    """Whether a clause about Python leaves some patch release of 3.`minor` standing."""
    match = re.match(r"(==|!=|>=|<=|>|<|~=|===)(\d+)(?:\.(\d+))?(?:\.(\d+))?", clause)
    if match is None:
        return False
    operator, major = match[1], int(match[2])
    wanted = None if match[3] is None else int(match[3])
    this = (3, minor)
    that = (major, wanted if wanted is not None else 0)
    whole = wanted is None or match[4] is None  # `<3.11` excludes all of 3.11, `<3.11.5` does not
    if operator in ("==", "===", "~="):
        return major == 3 and (wanted is None or wanted == minor or (operator == "~=" and whole and minor >= wanted))
    if operator == "!=":
        return not (whole and wanted is not None and this == that)
    if operator == ">":
        return this > that or (this == that and not clause.endswith("*"))
    if operator == ">=":
        return this >= that
    if operator == "<":
        return this < that or (this == that and not whole)
    return this <= that


def _wheels(name: str, version: str) -> list[str]:
    wheels = _table()["wheels"].get(name)
    if wheels is None:
        raise _wrong(
            f"The conda package '{name}' is not in the table of conda packages that have a wheel. If it is on PyPI, "
            "list it under 'pip:'",
            name,
        )
    # Only the first is the package itself; what follows comes with it in conda, in versions of its own.
    first, *others = wheels
    return [first + translate(version, name), *others]


@cache
def _table() -> dict[str, Any]:
    """`wheels`: conda name -> wheels; `ignored`: what a wheel brings along or a virtual environment has anyway."""
    data = tomllib.loads(files(__package__).joinpath("conda_wheels.toml").read_text(encoding="utf-8"))
    wheels = {name: [name] for name in data["same"]}
    wheels.update({name: value if isinstance(value, list) else [value] for name, value in data["other"].items()})
    return {"wheels": wheels, "ignored": set(data["ignored"])}


def _wrong(message: str, package: str | None = None) -> EnvironmentSpecError:
    return EnvironmentSpecError(message + ".", target="conda_file", package=package)

"""The shell lines of a Dockerfile that install Python packages, as wishes; whatever else a line does is not understood."""

from __future__ import annotations

import re
import shlex

import msgspec

from zaffre.execution.errors import EnvironmentSpecError

_PYTHON = re.compile(r"(?:/\S+/)?python(?:3(?:\.\d+)?)?\Z")
_PIP = re.compile(r"(?:/\S+/)?pip(?:3(?:\.\d+)?)?\Z")
_CONDA = re.compile(r"(?:/\S+/)?(?:conda|mamba|micromamba)\Z")
_PIP_FLAGS = {
    *("--no-cache-dir", "--no-cache", "-q", "--quiet", "-U", "--upgrade", "--user", "--no-input", "--system", "-y"),
    *("--disable-pip-version-check", "--no-warn-script-location", "--prefer-binary", "--ignore-installed", "-I"),
    *("--force-reinstall", "--break-system-packages", "--no-compile", "-v", "--verbose"),
}
_PIP_PASSED_WITH_VALUE = {"--root-user-action", "--timeout", "--default-timeout", "--retries", "--progress-bar"}
_PIP_KEPT_WITH_VALUE = {"-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host"}
_CONDA_FLAGS = {"-y", "--yes", "-q", "--quiet", "--prune", "--force", "--override-channels", "--freeze-installed"}
_CONDA_WITH_VALUE = {"-c", "--channel", "-n", "--name", "-p", "--prefix", "--solver"}
_MEANS_NOTHING = {"rm", "true", ":", "echo", "set"}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What one command installs: lines for pip, entries of a conda file, and the files that list either."""

    requirements: tuple[str, ...] = ()
    requirement_files: tuple[str, ...] = ()
    conda: tuple[str, ...] = ()
    conda_files: tuple[str, ...] = ()


def words(text: str, line: int) -> list[str]:
    """As a shell splits them. Raises EnvironmentSpecError for an open quote."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise EnvironmentSpecError(f"Line {line} of the Dockerfile can't be read: {error}.", target="build") from None


def commands(text: str, line: int) -> list[list[str]]:
    """The commands that `&&`, `;` and line ends part. Raises EnvironmentSpecError for other things of the shell."""
    if text.lstrip().startswith("["):
        try:
            return [msgspec.json.decode(text.encode(), type=list[str])]
        except msgspec.DecodeError:
            raise EnvironmentSpecError(f"Line {line} of the Dockerfile is no list of words.", target="build") from None
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError as error:
        raise EnvironmentSpecError(f"Line {line} of the Dockerfile can't be read: {error}.", target="build") from None
    found: list[list[str]] = [[]]
    for token in tokens:
        if token in ("&&", ";"):
            found.append([])
        else:
            found[-1].append(token)
    return [command for command in found if command]


def understand(command: list[str]) -> Wish | None:
    """What a command installs; None for one that does anything else."""
    if any(set(word) <= set("&|();<>") or "$" in word or "`" in word for word in command):
        return None  # the shell would do more than run one program
    first, rest = command[0], command[1:]
    if _CONDA.match(first) and rest[:1] == ["run"]:
        inner = rest[1:]
        while inner and inner[0].startswith("-"):
            inner = inner[1:] if inner[0].startswith("--no-") or "=" in inner[0] else inner[2:]
        return understand(inner) if inner else None
    if _PYTHON.match(first) and rest[:2] == ["-m", "pip"]:
        first, rest = "pip", rest[2:]
    if first == "uv" and rest[:1] == ["pip"]:
        first, rest = "pip", rest[1:]
    if _PIP.match(first):
        return _pip(rest)
    if _CONDA.match(first):
        return _conda(rest)
    return Wish() if first in _MEANS_NOTHING else None


def _pip(rest: list[str]) -> Wish | None:
    if rest[:1] == ["cache"]:
        return Wish()
    if rest[:1] != ["install"]:
        return None
    requirements: list[str] = []
    files: list[str] = []
    waiting = iter(rest[1:])
    for word in waiting:
        name, has_value, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in _PIP_FLAGS:
            continue
        if name == "--pre":
            requirements.append("--pre")
        elif name in ("-r", "--requirement"):
            files.append(value if has_value else next(waiting, ""))
        elif name in _PIP_KEPT_WITH_VALUE:
            requirements.append(f"{name} {value if has_value else next(waiting, '')}")
        elif name in _PIP_PASSED_WITH_VALUE:
            if not has_value:
                next(waiting, None)
        elif word.startswith(("-", ".", "/", "~")):
            return None  # of what lies in the image, or an option that changes more than what is installed
        else:
            requirements.append(word)
    return Wish(requirements=tuple(requirements), requirement_files=tuple(files))


def _conda(rest: list[str]) -> Wish | None:
    if rest[:1] in (["clean"], ["init"], ["config"], ["activate"]):
        return Wish()
    files_only = rest[:2] in (["env", "create"], ["env", "update"])
    if not files_only and rest[:1] not in (["install"], ["create"], ["update"]):
        return None
    packages: list[str] = []
    files: list[str] = []
    waiting = iter(rest[2:] if files_only else rest[1:])
    for word in waiting:
        name, has_value, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in _CONDA_FLAGS:
            continue
        if name in ("-f", "--file"):
            files.append(value if has_value else next(waiting, ""))
        elif name in _CONDA_WITH_VALUE:
            if not has_value:
                next(waiting, None)
        elif word.startswith("-") or files_only:
            return None
        else:
            packages.append(word)
    return Wish(conda=tuple(packages), conda_files=tuple(files))

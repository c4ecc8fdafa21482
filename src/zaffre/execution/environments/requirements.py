"""Lines of a requirements file, as they come in the `pip:` section of a conda file."""

from __future__ import annotations

import re
from collections.abc import Iterable

from zaffre.execution.errors import EnvironmentSpecError

# pip's options that mean something to uv, and what uv calls them.
_WITH_VALUE = {
    "-i": "--index-url",
    "--index-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "-f": "--find-links",
    "--find-links": "--find-links",
    "--trusted-host": "--allow-insecure-host",
}
_FLAGS = {"--pre": "--prerelease=allow", "--no-index": "--no-index"}
_IGNORED = {"--prefer-binary", "--require-hashes", "--upgrade", "-U", "--no-cache-dir"}
_OPTION = re.compile(r"(\S+?)(?:(?:=|\s+)(.*))?")
_COMMENT = re.compile(r"(^|\s)#.*$")


def split_options(lines: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Requirement lines, and the options among them as uv's own. Raises EnvironmentSpecError."""
    requirements: list[str] = []
    options: list[str] = []
    for raw in lines:
        line = _COMMENT.sub("", raw).strip()
        if not line:
            continue
        if line.startswith("-"):
            options += _option(line)
        else:
            _refuse_local(line)
            requirements.append(line)
    return tuple(dict.fromkeys(requirements)), tuple(options)


def _option(line: str) -> list[str]:
    name, value = _OPTION.fullmatch(line).groups("")  # type: ignore[union-attr]
    if name in _FLAGS and not value:
        return [_FLAGS[name]]
    if name in _IGNORED:
        return []
    if name in _WITH_VALUE and value:
        return [f"{_WITH_VALUE[name]}={value}"]
    raise EnvironmentSpecError(
        f"'{line}' can't be followed in an environment: it has no folder of other files beside it. "
        "List the packages; of options, --index-url, --extra-index-url, --find-links and --pre are understood.",
        target="pip",
    )


def _refuse_local(line: str) -> None:
    if line.startswith((".", "/", "~", "file:")) or re.search(r"@\s*(file:|\.|/)", line):
        raise EnvironmentSpecError(
            f"'{line}' is a path; an environment has no files of its own. Publish the package, or put its source into "
            "the job's code.",
            target="pip",
            package=line,
        )

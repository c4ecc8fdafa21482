"""Build contexts without a container engine: the Dockerfile's base image, its Python packages and its variables.

What a Dockerfile does to Python can be done in a virtual environment as well; what it does to the rest of an image cannot. So the
steps that install packages are followed, those that mean nothing to a job (labels, ports, users, an entry point) are passed over, and any
other is refused with its line: a job must not believe that it runs in an image that was never built.
"""

from __future__ import annotations

import io
import string
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from zaffre.execution.environments import dockerfile_run
from zaffre.execution.environments.conda import read_conda
from zaffre.execution.environments.spec import DEFAULT_PYTHON, EnvironmentSpec
from zaffre.execution.errors import EnvironmentSpecError

_PASSED_OVER = {
    *("LABEL", "MAINTAINER", "EXPOSE", "CMD", "ENTRYPOINT", "USER", "SHELL", "STOPSIGNAL", "HEALTHCHECK", "VOLUME"),
    "COMMENT",
}
_MOST_BYTES = 1 << 20  # of a file that says what to install


class BuildContext(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a Dockerfile: an environment, and the variables that it sets for whatever runs in it."""

    spec: EnvironmentSpec
    variables: dict[str, str]


def read_context(folder: Path, dockerfile: str = "Dockerfile") -> BuildContext:
    """Read the Dockerfile of a context that lies in `folder`. Raises EnvironmentSpecError that names line and step."""
    from dockerfile_parse import DockerfileParser

    text = _text(folder, dockerfile or "Dockerfile", "the Dockerfile")
    reading = _Reading(folder)
    for step in DockerfileParser(fileobj=io.BytesIO(text.encode()), env_replace=False).structure:
        reading.follow(step["instruction"], step["value"], step["startline"] + 1)
    return reading.result()


class _Reading:
    """A Dockerfile, step by step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._image: str | None = None
        self._arguments: dict[str, str] = {}
        self._variables: dict[str, str] = {}
        self._directory = PurePosixPath("/")
        self._copied: list[tuple[PurePosixPath, str]] = []
        self._requirements: list[str] = []
        self._conda: list[Any] = []

    def follow(self, instruction: str, value: str, line: int) -> None:
        if instruction in _PASSED_OVER:
            return
        if instruction == "FROM":
            self._from(value, line)
        elif instruction == "ARG":
            name, _, default = value.partition("=")
            self._arguments.setdefault(
                name.strip(), self._filled(dockerfile_run.words(default, line)[0] if default else "")
            )
        elif instruction == "ENV":
            self._env(value, line)
        elif instruction == "WORKDIR":
            self._directory = self._path(self._filled(value))
        elif instruction in ("COPY", "ADD"):
            self._copy(instruction, value, line)
        elif instruction == "RUN":
            self._run(value, line)
        else:
            raise _refused(line, f"{instruction} {value}".strip())

    def result(self) -> BuildContext:
        if self._image is None:
            raise EnvironmentSpecError("The Dockerfile has no FROM.", target="build")
        conda = msgspec.json.encode({"dependencies": self._conda}).decode() if self._conda else None
        spec = EnvironmentSpec(image=self._image, conda=conda, requirements=tuple(self._requirements))
        return BuildContext(spec=spec, variables=self._variables)

    # ---- one instruction each

    def _from(self, value: str, line: int) -> None:
        if self._image is not None:
            raise _refused(line, f"FROM {value}", "a Dockerfile of several stages copies files from image to image")
        parts = [part for part in self._filled(value).split() if not part.startswith("--platform")]
        if not parts:
            raise _refused(line, "FROM", "it names no image")
        self._image = parts[0]
        self._arguments = {}  # those before FROM are for FROM alone

    def _env(self, value: str, line: int) -> None:
        words = dockerfile_run.words(value, line)
        if words and "=" not in words[0]:
            pairs = [(words[0], value.split(None, 1)[1] if len(words) > 1 else "")]
        else:
            pairs = [(name, text) for name, _, text in (word.partition("=") for word in words)]
        for name, text in pairs:
            if name != "PATH":  # an image's own folders; the environment's come first in a job anyway
                self._variables[name] = self._filled(text)

    def _copy(self, instruction: str, value: str, line: int) -> None:
        words = [self._filled(word) for word in dockerfile_run.words(value, line)]
        options = [word for word in words if word.startswith("--")]
        *sources, target = [word for word in words if not word.startswith("--")] or [""]
        if any(option.startswith("--from") for option in options) or any("://" in source for source in sources):
            raise _refused(line, f"{instruction} {value}", "it brings files that are not in the context")
        for source in sources:
            self._copied.append((self._place_of(source, target, len(sources) > 1), source))

    def _place_of(self, source: str, target: str, several: bool) -> PurePosixPath:
        """Where a copied file or folder lies in the image: a folder's content goes into the target, a file under its name."""
        place = self._path(target)
        is_folder = (self._folder / source).is_dir()
        into = several or target.endswith("/") or target == "."
        return place / PurePosixPath(source).name if into and not is_folder else place

    def _run(self, value: str, line: int) -> None:
        for command in dockerfile_run.commands(self._filled(value), line):
            wish = dockerfile_run.understand(command)
            if wish is None:
                raise _refused(line, f"RUN {' '.join(command)}")
            self._requirements += wish.requirements
            self._conda += wish.conda
            for name in wish.requirement_files:
                self._read_requirements(name, line)
            for name in wish.conda_files:
                self._read_conda(name, line)

    # ---- files that say what to install

    def _read_requirements(self, name: str, line: int, inside: frozenset[str] = frozenset()) -> None:
        source = self._source(name, line)
        if source in inside:
            raise _refused(line, f"-r {name}", "the file names itself")
        text = _text(self._folder, source, f"line {line} of the Dockerfile needs it: '{name}'")
        for raw in text.replace("\\\n", " ").splitlines():
            entry = raw.strip()
            words = entry.split(None, 1)
            if len(words) == 2 and words[0] in ("-r", "--requirement"):
                beside = self._path(name).parent / words[1]
                self._read_requirements(str(beside), line, inside | {source})
            elif entry and not entry.startswith("#"):
                self._requirements.append(entry)

    def _read_conda(self, name: str, line: int) -> None:
        import yaml

        text = _text(self._folder, self._source(name, line), f"line {line} of the Dockerfile needs it: '{name}'")
        read_conda(text, DEFAULT_PYTHON)  # says what is wrong with it
        self._conda += yaml.safe_load(text).get("dependencies") or []

    def _source(self, name: str, line: int) -> str:
        """The file of the context that lies at this place in the image."""
        wanted = self._path(name)
        for place, source in reversed(self._copied):
            if wanted == place:
                return source
            if place in wanted.parents:
                return str(PurePosixPath(source) / wanted.relative_to(place))
        raise _refused(line, name, "no COPY before it brings this file")

    def _path(self, text: str) -> PurePosixPath:
        made = PurePosixPath("/")
        for part in (self._directory / text).parts[1:]:
            made = made.parent if part == ".." else made / part
        return made

    def _filled(self, text: str) -> str:
        """`$NAME` and `${NAME}` by ARG and ENV; one that nothing sets is empty, as Docker has it."""
        known = {**self._arguments, **self._variables}

        class Known(dict[str, str]):
            def __missing__(self, _name: str) -> str:
                return ""

        try:
            return string.Template(text).substitute(Known(known))
        except ValueError:
            return text  # `$(…)` and `${NAME:-…}` are the shell's; the step that holds them is refused where it is read


def _text(folder: Path, name: str, what: str) -> str:
    """A file of the context, which may not lead out of it."""
    path = (folder / name.lstrip("/")).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise EnvironmentSpecError(f"The build context has no file '{name}' ({what}).", target="build")
    if path.stat().st_size > _MOST_BYTES:
        raise EnvironmentSpecError(
            f"The file '{name}' of the build context has over {_MOST_BYTES} bytes.", target="build"
        )
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise EnvironmentSpecError(f"The file '{name}' of the build context is not UTF-8.", target="build") from None


def _refused(line: int, step: str, reason: str = "") -> EnvironmentSpecError:
    because = f": {reason}" if reason else ""
    return EnvironmentSpecError(
        f"Line {line} of the Dockerfile, '{step[:200]}', can't be followed without a container engine{because}. Understood are "
        "one FROM, ARG, ENV, WORKDIR, COPY, and RUN of pip install, conda install and conda env create or update.",
        target="build",
    )

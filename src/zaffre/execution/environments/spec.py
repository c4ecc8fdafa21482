"""What an environment asset asks for, and the recipe that answers it.

Without a container engine an image is only a name. Those whose content we know (Azure ML's base images, `python:X`)
stand for an interpreter; any other is refused, because running a job as if it were in another image would be a lie.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from zaffre.execution.environments.conda import CondaFile, read_conda
from zaffre.execution.environments.requirements import split_options
from zaffre.execution.errors import EnvironmentSpecError

_FORMAT = 1  # of the built environment; raise it when what the builder makes of a recipe changes
DEFAULT_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_PYTHON_IMAGE = re.compile(r"(?:docker\.io/)?(?:library/)?python(?::(?P<tag>[\w.-]+))?\Z")
_PYTHON_TAG = re.compile(r"(3\.\d+)(?:\.\d+)?(?:-|\Z)")
_CURATED_IMAGE = re.compile(r"mcr\.microsoft\.com/azureml/curated/(?P<name>[\w.-]+)(?:[:@].*)?\Z", re.IGNORECASE)
_BASE_IMAGE = re.compile(
    r"mcr\.microsoft\.com/azureml/(?P<name>(?:openmpi|intelmpi|minimal|base|inference|mlflow)[\w.-]*)(?:[:@].*)?\Z",
    re.IGNORECASE,
)
_PYTHON_IN_NAME = re.compile(r"-py(3)(\d+)(?:-|\Z)")
_NEUTRAL_TAGS = ("latest", "slim", "3")


class EnvironmentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An environment as the user wrote it.

    `image` is a container image, `conda` the text of a conda file, `requirements` lines as of a requirements file,
    `curated` a name of Azure ML's own environments, with or without `AzureML-`. What is given adds up.
    """

    image: str | None = None
    conda: str | None = None
    requirements: tuple[str, ...] = ()
    curated: str | None = None


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides a built environment, and its hash: `python` as "3.11", requirement lines, options for uv."""

    python: str
    requirements: tuple[str, ...]
    options: tuple[str, ...]
    key: str


def resolve(spec: EnvironmentSpec) -> Recipe:
    """The recipe of an environment. Raises EnvironmentSpecError that names the field or package that can't be had."""
    python: str | None = None
    requirements: list[str] = []
    if spec.curated:
        python, requirements = _curated(spec.curated, field="name")
    elif spec.image:
        python, requirements = _image(spec.image)
    conda = read_conda(spec.conda, DEFAULT_PYTHON) if spec.conda else CondaFile(python=None, requirements=())
    lines, options = split_options([*requirements, *conda.requirements, *spec.requirements])
    return _recipe(conda.python or python or DEFAULT_PYTHON, lines, options)


def curated_names() -> list[str]:
    """The names of Azure ML's curated environments that can be had here."""
    return sorted(_curated_table())


def curated_version(name: str) -> str:
    """The number of a curated environment's recipe here, which is raised when the recipe changes."""
    return str(_curated_table()[name].get("version", 1))


def _recipe(python: str, requirements: tuple[str, ...], options: tuple[str, ...]) -> Recipe:
    parts = [_FORMAT, python, requirements, options, platform.machine()]
    return Recipe(
        python=python,
        requirements=requirements,
        options=options,
        key=hashlib.sha256(msgspec.json.encode(parts)).hexdigest(),
    )


def _image(image: str) -> tuple[str | None, list[str]]:
    image = image.strip()
    if match := _PYTHON_IMAGE.match(image):
        return _python_of_tag(match["tag"] or "latest", image), []
    if match := _CURATED_IMAGE.match(image):
        return _curated(match["name"], field="image")
    if match := _BASE_IMAGE.match(image):
        version = _PYTHON_IN_NAME.search(match["name"])
        return (f"{version[1]}.{version[2]}" if version else None), []
    raise EnvironmentSpecError(
        f"The image '{image}' can't be used: jobs run without a container engine here, and only Azure ML's "
        "base images (mcr.microsoft.com/azureml/openmpi…, minimal…, base…), curated images and python:X.Y stand for "
        "an interpreter here. Use one of these with a conda file.",
        target="image",
    )


def _python_of_tag(tag: str, image: str) -> str | None:
    if match := _PYTHON_TAG.match(tag):
        return match[1]
    if tag.split("-")[0] in _NEUTRAL_TAGS:
        return None
    raise EnvironmentSpecError(
        f"The tag '{tag}' of image '{image}' names no Python version; use one like python:{DEFAULT_PYTHON}.",
        target="image",
    )


def _curated(name: str, field: str) -> tuple[str, list[str]]:
    table = _curated_table()
    row = table.get(re.sub(r"^azureml-", "", name.lower()))
    if row is None:
        raise EnvironmentSpecError(
            f"The curated environment '{name}' is not among those that can be had here: {', '.join(sorted(table))}.",
            target=field,
        )
    pythons: list[str] = row["python"]
    return (DEFAULT_PYTHON if DEFAULT_PYTHON in pythons else pythons[0]), list(row["requirements"])


@cache
def _curated_table() -> dict[str, dict[str, Any]]:
    text = files(__package__).joinpath("curated.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)

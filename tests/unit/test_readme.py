"""What the documents tell a user to type exists: commands, options, make targets, files; and the examples shown are the examples."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click
import pytest

from zaffre.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LONGEST_SCRIPT = 20
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_COMMAND = re.compile(r"(?<![\w/.-])zaffre ([a-z][a-z-]*)([^)\"&|;\n#]*)")
_MAKE = re.compile(r"(?<![\w-])make ([a-z]+)")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")


def typed(document: Path) -> Iterator[str]:
    """Everything in the document that is code: fenced shell blocks and inline code."""
    text = document.read_text()
    for language, block in _FENCE.findall(text):
        if language in ("", "sh", "bash", "console"):
            yield from block.splitlines()
    yield from _INLINE.findall(_FENCE.sub("", text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_shown_exists(document: Path) -> None:
    for line in typed(document):
        for name, rest in _COMMAND.findall(line):
            assert name in COMMANDS, f"{document.name} shows `zaffre {name}`, which there is not"
            command = importlib.import_module(f"zaffre.cli.{name}").command
            if isinstance(command, click.Group) and rest.strip():
                verb = rest.split()[0]
                assert verb in command.commands, f"{document.name} shows `zaffre {name} {verb}`, which there is not"
                command = command.commands[verb]
            known = {option for parameter in command.params for option in parameter.opts}
            own = rest if name != "run" else rest.partition(" python")[0]
            for option in re.findall(r"(?<!\S)--[a-z-]+", own):
                assert option in known, f"{document.name} shows `zaffre {name} {option}`, which there is not"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_shown_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in typed(document):
        assert set(_MAKE.findall(line)) <= targets, f"{document.name}: {line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_linked_to_is_there(document: Path) -> None:
    missing = [link for link in _LINK.findall(document.read_text()) if not (document.parent / link).exists()]
    assert not missing, f"{document.name} links to what is not there: {missing}"


def test_the_readme_opens_with_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text().splitlines()[:12]
    assert "pip install 'zaffre[sdk]' && zaffre up --detach" in opening
    assert any(line.startswith("zaffre run python submit.py") for line in opening)
    assert any(line.startswith('eval "$(zaffre env)"') for line in opening)


def test_the_scripts_shown_are_the_examples_and_short() -> None:
    shown = [block for language, block in _FENCE.findall((ROOT / "README.md").read_text()) if language == "python"]
    folder = ROOT / "examples" / "breast_cancer"
    assert shown == [(folder / name).read_text() for name in ("submit.py", "src/train.py")]
    assert all(len(block.splitlines()) <= LONGEST_SCRIPT for block in shown)
    assert "zaffre" not in "".join(shown).lower(), "they would no longer run unchanged on Azure"


def test_every_dependency_is_accounted_for() -> None:
    described = (ROOT / "docs" / "dependencies.md").read_text().lower()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    optional = project["project"]["optional-dependencies"].values()
    lines = [*project["project"]["dependencies"], *chain(*optional), *chain(*project["dependency-groups"].values())]
    names = {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in lines}
    assert len(names) > 30
    missing = [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", described)]
    assert not missing, f"docs/dependencies.md says nothing of {missing}"

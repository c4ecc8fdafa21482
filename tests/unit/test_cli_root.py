"""The root of the command line: quick, lazy, and never a trace."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from zaffre.cli.main import COMMANDS, cli

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ZAFFRE_")}


ELSEWHERE = ("login", "logout")
"""They are about servers on other hosts, which have no home here."""


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zaffre.cli.main", *arguments]
    return subprocess.run(command, env=ENVIRONMENT | more, capture_output=True, text=True, timeout=60, check=False)


def test_help_names_every_command_and_imports_none() -> None:
    code = (
        "import sys\n"
        "from zaffre.cli.main import cli\n"
        "cli.main(['--help'], 'zaffre', standalone_mode=False)\n"
        "heavy = {'asyncio', 'ssl', 'msgspec', 'urllib.request', 'cryptography', 'sqlalchemy', 'zaffre.profiles'}\n"
        "sys.exit(str(sorted(heavy & set(sys.modules)) or '') or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"`zaffre --help` imports what it need not: {done.stderr}"
    shown = " ".join(done.stdout.split())  # long words are wrapped
    for name, words in COMMANDS.items():
        assert f"{name} {words}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_a_home_and_says_what_it_does(name: str) -> None:
    command = importlib.import_module(f"zaffre.cli.{name}").command
    assert isinstance(command, click.Command) and command.help
    leaves = command.commands.values() if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert leaf.help and (name in ELSEWHERE or "--home" in {one for found in leaf.params for one in found.opts})
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0 and "Usage:" in shown.output


def test_an_unknown_command_is_a_mistake_of_the_user() -> None:
    done = run("frobnicate")
    assert done.returncode == 2 and "No such command" in done.stderr


def test_a_failure_is_one_line(tmp_path: Path) -> None:
    done = run("env", "--home", str(tmp_path))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        f"zaffre: No Zaffre has run on {tmp_path} yet; start one with `zaffre up --home {tmp_path}`.\n"
    )


def test_a_bug_is_one_line_too_unless_the_trace_is_wanted() -> None:
    code = (
        "import click, sys, types\n"
        "from zaffre.cli import main\n"
        "@click.command()\n"
        "def command():\n    raise RuntimeError('boom')\n"
        "sys.modules['zaffre.cli.broken'] = types.SimpleNamespace(command=command)\n"
        "main.COMMANDS['broken'] = ''\n"
        "sys.argv = ['zaffre', 'broken']\n"
        "main.main()\n"
    )
    for wish in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=ENVIRONMENT | {"ZAFFRE_TRACE": wish},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == bool(wish)
        assert "RuntimeError: boom" in done.stderr


def test_version_names_the_clients_beside_it(tmp_path: Path) -> None:
    done = run("version", "--home", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.startswith("zaffre ") and "\nazure-ai-ml " in done.stdout


def test_up_refuses_what_cannot_be_before_it_starts_anything(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for arguments, words in (
        (("--port", "70000"), "70000 is not in the range"),
        (("--profile", "../x"), "is no profile name"),
        (("--detach", "--host", "nowhere"), "is no address"),
    ):
        done = run("up", "--home", str(home), *arguments)
        assert done.returncode in (1, 2) and words in done.stderr
        assert "Traceback" not in done.stderr and not (home / "run").exists()


def test_up_says_when_its_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("up", "--home", str(tmp_path / "file" / "home"), "--detach")
    assert done.returncode == 1
    assert f"The folder {tmp_path / 'file' / 'home'} cannot be made: Not a directory." in done.stderr


def test_nothing_runs_is_said_by_down_and_by_status(tmp_path: Path) -> None:
    down, status = run("down", "--home", str(tmp_path)), run("status", "--home", str(tmp_path))
    assert (down.returncode, status.returncode) == (0, 1)
    assert down.stdout == status.stdout == f"No Zaffre runs on {tmp_path}.\n"
    assert run("status", "--json", "--home", str(tmp_path)).stdout.startswith('{"running": false')

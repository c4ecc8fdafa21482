"""`zaffre`: the root of the command line. It imports click and nothing else; a command is imported when it is run.

A failure is one line on stderr and an exit code that is not 0, never a trace; `ZAFFRE_TRACE=1` brings the trace back.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import TracebackType

import click

COMMANDS = {
    "up": "Start Zaffre: one HTTPS port, everything else behind it.",
    "down": "Stop it. Running jobs go on; the next start finds them.",
    "status": "What runs: address, processes, jobs, endpoints.",
    "env": "Print the variables that point clients at it, for eval.",
    "run": "Run one command with these variables.",
    "login": "Remember a server on another host, and your key there.",
    "logout": "Forget it again.",
    "key": "API keys: create, list, revoke.",
    "principal": "Service principals: create, list, delete.",
    "keys": "The keys that sign tokens: rotate, list.",
    "backup": "Copy all it holds to a folder, while it runs.",
    "restore": "Make a home from a backup.",
    "import": "Bring what another tracking server holds.",
    "gc": "Remove what nobody needs any more: bytes, folders.",
    "doctor": "Say what is wrong and what to do about it.",
    "version": "The versions of Zaffre and of what it works with.",
}
"""Each is `zaffre.cli.<name>:command`. The words stand here so that help need not import them all."""


class LazyGroup(click.Group):
    """Knows its commands by name; imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"zaffre.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Azure Machine Learning you can run yourself.

    \b
    zaffre up                        start it
    zaffre run python train.py       run an Azure ML script against it
    eval "$(zaffre env)"             or point this shell at it
    """


def main() -> None:
    """The entry point of the `zaffre` script."""
    sys.excepthook = _one_line
    try:
        cli.main(prog_name="zaffre")
    except SystemExit:  # how click ends; said first, as the next line imports what help need not
        raise
    except _expected() as error:
        click.echo(f"zaffre: {error}", err=True)
        sys.exit(1)


def _expected() -> tuple[type[BaseException], ...]:
    """The failures whose message is all there is to say; evaluated only when something has failed."""
    if _wants_trace():
        return ()
    from zaffre.profiles import ClientError
    from zaffre.supervisor.errors import SupervisorError

    return (ClientError, SupervisorError, OSError)


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if _wants_trace():
        sys.__excepthook__(kind, error, trace)
        return
    click.echo(f"zaffre: {kind.__name__}: {error}. This is a bug; ZAFFRE_TRACE=1 shows where.", err=True)


def _wants_trace() -> bool:
    return os.environ.get("ZAFFRE_TRACE", "") not in ("", "0")


if __name__ == "__main__":
    main()

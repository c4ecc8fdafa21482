"""Starting the user's command so that it runs exactly once.

The child is forked first and waits at a gate; it goes on only after "started" has been written. If the launcher dies
before that, the gate breaks and the command never ran, so starting the job again is safe.
"""

from __future__ import annotations

import os

from zaffre_launcher import linux
from zaffre_launcher.linux import signals

_DEFAULTED = (signals.SIGTERM, signals.SIGINT, signals.SIGHUP, signals.SIGCHLD, signals.SIGPIPE, signals.SIGXFSZ)


class Child:
    """The main process of a job, in a process group of its own."""

    def __init__(self, pid: int, gate: int, status: int) -> None:
        self.pid = pid
        self._gate = gate
        self._status = status

    def release(self) -> str | None:
        """Let the command start; the reason where it could not."""
        try:
            os.write(self._gate, b"!")
        except BrokenPipeError:
            return "the process was killed before it could start"
        os.close(self._gate)
        with open(self._status, "rb") as file:
            return file.read().decode("utf-8", "replace") or None


def fork_child(command: str, cwd: str, environment: dict[str, str], output: int) -> Child:
    """A process that will run `command` in a shell once released; it writes stdout and stderr to `output`."""
    gate_reader, gate_writer = os.pipe()
    status_reader, status_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(gate_writer)
            _become(command, cwd, environment, output, gate_reader)
        except OSError as error:
            os.write(status_writer, str(error).encode("utf-8", "replace"))
        finally:
            os._exit(127)
    os.close(gate_reader)
    os.close(status_writer)
    return Child(pid, gate_writer, status_reader)


def _become(command: str, cwd: str, environment: dict[str, str], output: int, gate: int) -> None:
    signals.set_wakeup_fd(-1)
    for number in _DEFAULTED:
        signals.signal(number, signals.SIG_DFL)
    linux.die_with_parent(signals.SIGKILL)
    os.setpgid(0, 0)
    if not os.read(gate, 1):
        return  # the launcher died
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(cwd)
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    os.execve(shell, [shell, "-c", command], environment)

"""The failures of execution. What the user can mend is an `InvalidInput`, told alike by gateway and job."""

from __future__ import annotations

from zaffre.errors import InvalidInput, ZaffreError


class PlanError(InvalidInput):
    """A plan that must not be carried out: an unsafe path, folders that lie in one another."""


class ExpressionError(InvalidInput):
    """A `${{…}}` in a command that means nothing here. `name` is what it asked for, `known` what there is."""

    def __init__(self, message: str, *, name: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(message, target="command")
        self.name = name
        self.known = known


class EnvironmentSpecError(InvalidInput):
    """An environment that can't be had on this machine. `target` is the field, `package` the package at fault."""

    def __init__(self, message: str, *, target: str, package: str | None = None) -> None:
        super().__init__(message, target=target)
        self.package = package


class EnvironmentBuildError(ZaffreError):
    """Building an environment failed; the message ends with what the resolver said.

    It is final: the resolver has asked again by itself wherever that may help.
    """

    status = 400
    code = "EnvironmentBuildFailed"


class StagingError(ZaffreError):
    """An input could not be laid into the job's folder."""

    code = "StagingFailed"


class StoreError(InvalidInput):
    """A datastore outside this server refused: its credential, its name or the path is wrong."""

    code = "DatastoreFailed"


class StoreUnavailable(ZaffreError):
    """A datastore outside this server could not be reached; it may be back when asked again."""

    status = 503
    code = "DatastoreUnavailable"


class WebError(InvalidInput):
    """A file of the web that can't be had: the other side refused, or its address leads where we don't follow."""

    code = "DownloadFailed"


class LaunchError(ZaffreError):
    """The machine refused to start a launcher: no memory, no process left, no disk."""

    code = "LaunchFailed"

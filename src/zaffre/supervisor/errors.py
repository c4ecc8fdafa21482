"""What ends a start, or a command given to a supervisor."""


class SupervisorError(Exception):
    """Base: the message says what happened, to what, and what to do."""


class AlreadyRunningError(SupervisorError):
    """Another supervisor holds this home."""


class ListenError(SupervisorError):
    """An address could not be bound."""


class NginxError(SupervisorError):
    """nginx could not be found, tested, started or reloaded."""


class ApplicationError(SupervisorError):
    """The application ended before it was ready."""


class NotRunningError(SupervisorError):
    """No supervisor answers for this home."""

"""What can go wrong while the edge's files are made."""


class EdgeError(Exception):
    """Base of the edge's errors; the message says what happened, to what, and what to do."""


class PlanError(EdgeError, ValueError):
    """A plan holds something that must not reach nginx's configuration."""


class NginxMissingError(EdgeError):
    """No nginx that can be run was found."""


class CertificateError(EdgeError):
    """A certificate could not be made from the names or files given."""

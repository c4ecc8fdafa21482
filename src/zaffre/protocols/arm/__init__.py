"""The control plane: one generic provider, bound by the table of operations, for all kinds."""

from zaffre.protocols.arm.routes import routes

__all__ = ["routes"]

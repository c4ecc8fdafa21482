"""Run history, discovery and the signed logs: what `stream`, `download`, `archive` and `update` of the SDK ask."""

from zaffre.protocols.history.routes import routes

__all__ = ["routes"]

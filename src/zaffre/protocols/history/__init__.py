"""Run history, artifacts, discovery and the signed logs: what `stream`, `download`, `archive` and `update` of the SDK ask."""

from zaffre.protocols.history.artifacts import ArtifactHandlers
from zaffre.protocols.history.data import DataHandlers
from zaffre.protocols.history.routes import routes

__all__ = ["ArtifactHandlers", "DataHandlers", "routes"]

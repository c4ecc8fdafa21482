"""Model versions: kept under the address of their files, whatever way a client names them."""

from __future__ import annotations

from zaffre.services.kinds.base import Document
from zaffre.services.model_sources import ModelSources
from zaffre.services.resources import Resources
from zaffre.services.workspaces import Workspace

# Forms that name a run; the SDK cannot read them back where it deploys the model it was answered.
_BY_RUN = ("azureml://jobs/", "runs:/", "models:/")


class Models(Resources):
    """The generic service, but for the address a new version is kept under."""

    def __init__(self, generic: Resources, sources: ModelSources) -> None:
        super().__init__(generic.database, generic.vault, generic.kinds)
        self._sources = sources

    async def arrive(self, workspace: Workspace, body: Document) -> Document:
        properties = body.get("properties")
        uri = properties.get("modelUri") if isinstance(properties, dict) else None
        if isinstance(properties, dict) and isinstance(uri, str) and uri.startswith(_BY_RUN):
            source = await self._sources.resolve(workspace, uri)
            return {**body, "properties": {**properties, "modelUri": source.uri}}
        return body

"""Model versions: kept under the address of their files, whatever way a client names them."""

from __future__ import annotations

from zaffre.services.kinds.base import Document, Kind
from zaffre.services.model_sources import ModelSources
from zaffre.services.resources import Guard, Resources, Written
from zaffre.services.workspaces import Workspace
from zaffre.store.unit import Actor

# Forms that name a run; the SDK cannot read them back where it deploys the model it was answered.
_BY_RUN = ("azureml://jobs/", "runs:/", "models:/")


class Models(Resources):
    """The generic service, but for the address a new version is kept under."""

    def __init__(self, generic: Resources, sources: ModelSources) -> None:
        super().__init__(generic.database, generic.vault, generic.kinds)
        self._sources = sources

    async def put(
        self,
        actor: Actor,
        workspace: Workspace,
        kind: Kind,
        parent: str,
        name: str,
        body: Document,
        *,
        server: Document | None = None,
        guard: Guard | None = None,
        secrets_once: Document | None = None,
    ) -> Written:
        properties = body.get("properties")
        uri = properties.get("modelUri") if isinstance(properties, dict) else None
        if isinstance(properties, dict) and isinstance(uri, str) and uri.startswith(_BY_RUN):
            source = await self._sources.resolve(workspace, uri)
            body = {**body, "properties": {**properties, "modelUri": source.uri}}
        more: Document = {"server": server, "guard": guard, "secrets_once": secrets_once}
        return await super().put(actor, workspace, kind, parent, name, body, **more)

"""The gateway's parts, held together for whoever translates requests."""

from __future__ import annotations

from zaffre.services.model_gateway.asking import Asker
from zaffre.services.model_gateway.endpoints import GatewayEndpoints
from zaffre.services.model_gateway.invoking import Invoking
from zaffre.services.model_gateway.models import GatewayModels
from zaffre.services.model_gateway.secrets import GatewaySecrets
from zaffre.services.tracking import Tracking
from zaffre.store.database import Database
from zaffre.store.seal import Vault


class ModelGateway:
    def __init__(self, database: Database, vault: Vault, tracking: Tracking, asker: Asker) -> None:
        self.secrets = GatewaySecrets(database, vault, asker)
        self.models = GatewayModels(database)
        self.endpoints = GatewayEndpoints(database, tracking)
        self.invoking = Invoking(database, self.secrets, tracking, asker)

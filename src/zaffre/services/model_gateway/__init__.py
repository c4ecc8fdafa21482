"""MLflow's AI gateway inside the tracking server: endpoints that ask models of providers with credentials kept here."""

from zaffre.services.model_gateway.service import ModelGateway

__all__ = ["ModelGateway"]

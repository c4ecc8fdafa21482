"""MLflow's REST protocol: translates and calls the tracking and registry services, nothing more."""

from zaffre.protocols.mlflow.errors import error_form
from zaffre.protocols.mlflow.routes import routes

__all__ = ["error_form", "routes"]

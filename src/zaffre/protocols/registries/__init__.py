"""Registries as `MLClient(credential, registry_name=…)` and azureml-mlflow ask them (wire.md §10)."""

from zaffre.protocols.registries.routes import routes

__all__ = ["routes"]

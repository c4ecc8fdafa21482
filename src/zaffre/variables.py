"""The environment variables that point unmodified clients at a server: `zaffre env` prints them, `zaffre run` sets them."""

from __future__ import annotations

from urllib.parse import quote

from zaffre.profiles import Profile
from zaffre.settings import CLOUD_NAME


def client_variables(profile: Profile) -> dict[str, str]:
    """Everything azure-ai-ml, azure-identity, mlflow, azureml-mlflow and `requests` read, for the profile's workspace."""
    address = profile.address
    return {
        "ARM_CLOUD_METADATA_URL": f"{address}/metadata/endpoints",
        "AZUREML_CURRENT_CLOUD": CLOUD_NAME,
        **trust_variables(profile),
        "IDENTITY_ENDPOINT": f"{address}/msi/token",
        "IDENTITY_HEADER": profile.api_key,
        **mlflow_variables(profile),
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{address}/",
        "AZURE_SUBSCRIPTION_ID": profile.subscription,
        "AZURE_RESOURCE_GROUP": profile.resource_group,
        "AZUREML_WORKSPACE": profile.workspace,
    }


def trust_variables(profile: Profile) -> dict[str, str]:
    """What `requests`, httpx and OpenSSL take their roots from."""
    return {"REQUESTS_CA_BUNDLE": profile.bundle, "SSL_CERT_FILE": profile.bundle}


def mlflow_variables(profile: Profile) -> dict[str, str]:
    """MLflow never renews a token, and a shell outlives an hour: it gets the API key, which every route takes."""
    return {
        "MLFLOW_TRACKING_URI": f"{profile.address}/tracking{quote(profile.scope)}",
        "MLFLOW_TRACKING_TOKEN": profile.api_key,
    }

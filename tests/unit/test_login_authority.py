"""The authority that the cloud metadata names: azureml-mlflow hands on host and port alone, whatever they look like."""

from __future__ import annotations

from urllib.parse import urlparse

import pytest
from azure.identity import DefaultAzureCredential

from zaffre.protocols.login.routes import login_authority


@pytest.mark.parametrize(
    "address",
    [
        "https://localhost:8443",
        "https://127.0.0.1:8443",
        "https://[::1]:8443",
        "https://ml.example.org:8443",
        "https://ml-1:8443",
        "https://ml.example.org",
    ],
)
def test_azure_identity_takes_it_without_its_scheme(address: str) -> None:
    found = urlparse(login_authority(address))
    DefaultAzureCredential(authority=found.netloc)
    assert found.port == urlparse(address).port
    assert found.hostname in (urlparse(address).hostname, "127.0.0.1")

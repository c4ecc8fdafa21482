"""The client's side: the variables of this shell, as azure-ai-ml, azure-identity, requests and mlflow would read them."""

from __future__ import annotations

import shlex
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from zaffre import profiles
from zaffre.cli import options
from zaffre.cli.checks.finding import Finding, good, note, wrong
from zaffre.profiles import Profile
from zaffre.remote import Remote, RemoteError
from zaffre.settings import CLOUD_NAME
from zaffre.variables import client_variables

PUBLIC = ("AzureCloud", "AzureUSGovernment", "AzureChinaCloud")
_POINTERS = ("ARM_CLOUD_METADATA_URL", "IDENTITY_ENDPOINT", "AZUREML_CURRENT_CLOUD")


def without_server(env: Mapping[str, str]) -> list[Finding]:
    """A shell that was pointed at a server which does not answer."""
    advice = "Start the server (`zaffre up`), or unset AZUREML_CURRENT_CLOUD and ARM_CLOUD_METADATA_URL."
    findings = []
    if env.get("AZUREML_CURRENT_CLOUD") == CLOUD_NAME:
        text = (
            f"AZUREML_CURRENT_CLOUD is {CLOUD_NAME} and no server answers: even `import azure.ai.ml` fails, with "
            f"'Unknown cloud environment \"{CLOUD_NAME}\"'."
        )
        findings.append(wrong(text, advice))
    elif url := env.get("ARM_CLOUD_METADATA_URL"):
        text = f"ARM_CLOUD_METADATA_URL is {url} and no server answers: azure-ai-ml falls back to the public cloud silently."
        findings.append(wrong(text, advice))
    return findings + _credentials(env, None)


def shell(profile: Profile, env: Mapping[str, str]) -> list[Finding]:
    """A shell beside a server that runs."""
    look = _Shell(profile, env)
    if not any(name in env for name in _POINTERS):
        text = "This shell is not pointed at it: azure-ai-ml would talk to Azure."
        return [note(text, look.again), *look.credentials(), *look.proxy()]
    findings = [
        *look.metadata(),
        *look.cloud(),
        *look.trust(),
        *look.identity(),
        *look.tracking(),
        *look.credentials(),
        *look.proxy(),
    ]
    return findings or [good("The variables of this shell point at it.")]


class _Shell:
    def __init__(self, profile: Profile, env: Mapping[str, str]) -> None:
        self._profile = profile
        self._env = env
        self._expected = client_variables(profile)
        home = profile.home
        named = f" --home {shlex.quote(home)}" if home and profiles.name_for(Path(home)) is None else ""
        self.again = f'eval "$(zaffre env{named})", or: zaffre run{named} COMMAND'

    def metadata(self) -> list[Finding]:
        """The SDK takes the first cloud whose `resourceManager` is part of this URL; otherwise the public one."""
        url, address = self._env.get("ARM_CLOUD_METADATA_URL"), self._profile.address
        if url is None:
            return [wrong("ARM_CLOUD_METADATA_URL is not set: azure-ai-ml asks management.azure.com.", self.again)]
        if not url.startswith(f"{address}/"):
            text = f"ARM_CLOUD_METADATA_URL is {url}, but the server is at {address}; its port may have changed."
            return [wrong(text, self.again)]
        try:
            clouds = Remote(self._profile, timeout=10).call("GET", url, headers={}).get("value", [])
        except RemoteError as error:
            return [wrong(f"{url} gives no list of clouds: {error}", self.again)]
        managers = [str(cloud.get("resourceManager", "")) for cloud in clouds if isinstance(cloud, dict)]
        if not any(manager and manager in url for manager in managers):
            text = (
                f"The server calls itself {', '.join(managers) or 'nothing'}, which is no part of {url}: azure-ai-ml falls "
                "back to the public cloud silently."
            )
            return [wrong(text, self.again)]
        return []

    def cloud(self) -> list[Finding]:
        name = self._env.get("AZUREML_CURRENT_CLOUD")
        if name in PUBLIC:
            text = (
                f"AZUREML_CURRENT_CLOUD is {name}: a client started here talks to Azure, not to Zaffre. azure-ai-ml sets "
                "it by itself when it falls back."
            )
            return [wrong(text, self.again)]
        if name not in (None, CLOUD_NAME):
            return [wrong(f"AZUREML_CURRENT_CLOUD is {name}; this server's cloud is {CLOUD_NAME}.", self.again)]
        return []

    def trust(self) -> list[Finding]:
        """`requests` reads REQUESTS_CA_BUNDLE, else CURL_CA_BUNDLE, else certifi's own roots."""
        name = next((one for one in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if self._env.get(one)), None)
        if name is None:
            text = "REQUESTS_CA_BUNDLE is not set: Python's clients do not trust this server's certificate."
            return [wrong(text, self.again)]
        found: list[Finding] = []
        for one in (name, "SSL_CERT_FILE"):
            bundle = self._env.get(one)
            if not bundle or bundle == self._profile.bundle:
                continue
            try:
                Remote(self._profile, timeout=10, bundle=bundle).call("GET", "/healthz", headers={})
            except RemoteError as error:
                found.append(wrong(f"{one}: {error}", f"Set it to {self._profile.bundle}."))
        return found

    def identity(self) -> list[Finding]:
        """The managed identity of a web app (`zaffre env`), else that of an Azure ML compute, else a service principal."""
        env, expected = self._env, self._expected["IDENTITY_ENDPOINT"]
        pairs = (("IDENTITY_ENDPOINT", "IDENTITY_HEADER"), ("MSI_ENDPOINT", "MSI_SECRET"))
        name, secret = next((pair for pair in pairs if env.get(pair[0])), pairs[0])
        if not env.get(name) or not env.get(secret):
            if env.get("AZURE_CLIENT_ID") and not options.stray(env, self._profile.address):
                return []
            text = "IDENTITY_ENDPOINT and IDENTITY_HEADER are not both set: DefaultAzureCredential finds no way to sign in here."
            return [wrong(text, self.again)]
        if env[name] != expected:
            return [wrong(f"{name} is {env[name]}, which is not this server.", self.again)]
        if name == "IDENTITY_ENDPOINT" and env.get("IDENTITY_SERVER_THUMBPRINT"):
            text = "IDENTITY_SERVER_THUMBPRINT is set: azure-identity takes this for Service Fabric and asks in another form."
            return [wrong(text, "unset IDENTITY_SERVER_THUMBPRINT")]
        if env[secret] != self._profile.api_key:
            return [note(f"{secret} carries another key than this profile's: you act as somebody else.")]
        return []

    def credentials(self) -> list[Finding]:
        return _credentials(self._env, self._profile.address)

    def tracking(self) -> list[Finding]:
        uri = self._env.get("MLFLOW_TRACKING_URI")
        if uri is None:
            return [note("MLFLOW_TRACKING_URI is not set: mlflow keeps its runs in this folder.", self.again)]
        if urlsplit(uri).netloc != urlsplit(self._profile.address).netloc:
            return [wrong(f"MLFLOW_TRACKING_URI is {uri}, which is not this server.", self.again)]
        if uri.startswith("https://") and not self._env.get("MLFLOW_TRACKING_TOKEN"):
            return [wrong("MLFLOW_TRACKING_TOKEN is not set: mlflow is refused with 401.", self.again)]
        return []

    def proxy(self) -> list[Finding]:
        host = urlsplit(self._profile.address).hostname or ""
        if not urllib.request.getproxies().get("https") or urllib.request.proxy_bypass(host):
            return []
        advice = f'export NO_PROXY="${{NO_PROXY:+$NO_PROXY,}}{host}"'
        return [wrong(f"HTTPS_PROXY sends requests to {host} to a proxy.", advice)]


def _credentials(env: Mapping[str, str], address: str | None) -> list[Finding]:
    """What DefaultAzureCredential tries before, or instead of, the managed identity."""
    found = []
    stray = options.stray(env, address)
    if stray and address is not None and env.get("AZURE_AUTHORITY_HOST", "").rstrip("/") == address:
        text = (
            f"AZURE_TENANT_ID is {env.get('AZURE_TENANT_ID') or 'not set'}: for every tenant but `{options.ADFS}` MSAL asks "
            "login.microsoftonline.com to vouch for this server."
        )
        found.append(wrong(text, f"export AZURE_TENANT_ID={options.ADFS}"))
    elif stray:
        text = f"Set: {', '.join(stray)}. DefaultAzureCredential signs in at Microsoft with it before it asks Zaffre."
        found.append(wrong(text, f"unset {' '.join(stray)}"))
    chain = env.get("AZURE_TOKEN_CREDENTIALS", "")
    if chain and chain.lower() not in ("prod", "managedidentitycredential"):
        text = f"AZURE_TOKEN_CREDENTIALS is {chain}: DefaultAzureCredential leaves the managed identity out."
        found.append(wrong(text, "unset AZURE_TOKEN_CREDENTIALS"))
    if env.get("AZUREML_DEV_URL_MFE"):
        found.append(wrong("AZUREML_DEV_URL_MFE is set: it sends azure-ai-ml elsewhere.", "unset AZUREML_DEV_URL_MFE"))
    if env.get("AZURE_ML_CLI_PRIVATE_FEATURES_ENABLED", "").lower() in ("true", "1"):
        text = (
            "AZURE_ML_CLI_PRIVATE_FEATURES_ENABLED is set: the SDK keeps components in a cache of its own in the temporary folder, "
            "and may use one of a server that was removed."
        )
        found.append(note(text, "unset AZURE_ML_CLI_PRIVATE_FEATURES_ENABLED"))
    return found

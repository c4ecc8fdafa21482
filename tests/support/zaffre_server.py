"""A whole Zaffre on a free port and a home of its own: supervisor, nginx and application, as `zaffre up` starts them."""

from __future__ import annotations

import functools
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from zaffre.supervisor import client

T = TypeVar("T")
START_S = 90.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ZaffreServer:
    """`up` and `down` as often as a test likes; the home stays."""

    home: Path
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0

    def up(self) -> ZaffreServer:
        command = [sys.executable, "-P", "-m", "zaffre.supervisor", "--home", str(self.home), "--port", str(self.port)]
        run = subprocess.run(
            [*command, "--detach", *self.arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        assert run.returncode == 0, f"zaffre up failed:\n{run.stdout}\n{run.stderr}\n{self.log()[-4000:]}"
        self.port = int(self.credentials["address"].rpartition(":")[2])
        return self

    def down(self, *, cancel_jobs: bool = True) -> dict[str, Any]:
        return client.stop(self.home, cancel_jobs)

    def kill(self, what: str) -> int:
        """kill -9 of `application`, `nginx` or `supervisor`; the pid that was killed."""
        status = client.status(self.home)
        assert status is not None, "the server does not run"
        pid = int(status["pid"] if what == "supervisor" else status[what]["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def destroy(self) -> None:
        """Down, if it is up, and the home removed, by somebody for whom no test waits: environments are many small files."""
        if client.status(self.home) is not None:
            self.down()
        if not self.home.exists():
            return
        gone = self.home.with_name(f"{self.home.name}.gone-{uuid.uuid4().hex[:8]}")
        self.home.rename(gone)
        remove = 'chmod -R u+rwx "$1"; rm -rf "$1"'
        quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        subprocess.Popen(["nice", "-n", "19", "sh", "-c", remove, "sh", str(gone)], start_new_session=True, **quiet)

    @property
    def data_folder(self) -> Path:
        """The folder that datastores may lie in, where the server was started with one."""
        return Path(self.environment["ZAFFRE_DATA_FOLDERS"])

    @property
    def credentials(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.home / "credentials").read_bytes())
        return found

    @property
    def database_file(self) -> Path:
        """SQLite's. A test that looks into it is left out where the records lie in PostgreSQL."""
        if "ZAFFRE_DATABASE_URL" in self.environment:
            pytest.skip("looks into SQLite's file")
        return self.home / "zaffre.db"

    @property
    def address(self) -> str:
        return self.credentials["address"]

    @property
    def scope(self) -> str:
        """The ARM id of the default workspace."""
        names = self.credentials
        return (
            f"/subscriptions/{names['subscription']}/resourceGroups/{names['resource_group']}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{names['workspace']}"
        )

    @property
    def variables(self) -> dict[str, str]:
        """What `zaffre env` prints, for the clients of a test."""
        bundle = str(self.home / "bundle.pem")
        return {
            "ARM_CLOUD_METADATA_URL": f"{self.address}/metadata/endpoints",
            "AZUREML_CURRENT_CLOUD": "Zaffre",
            "REQUESTS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "IDENTITY_ENDPOINT": f"{self.address}/msi/token",
            "IDENTITY_HEADER": self.credentials["api_key"],
            "MLFLOW_TRACKING_URI": f"{self.address}/tracking{self.scope}",
            "MLFLOW_TRACKING_TOKEN": self.credentials["api_key"],
            "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{self.address}/",
            "AZURE_SUBSCRIPTION_ID": self.credentials["subscription"],
            "AZURE_RESOURCE_GROUP": self.credentials["resource_group"],
            "AZUREML_WORKSPACE": self.credentials["workspace"],
        }

    def token(self, resource: str = "https://ml.azure.com") -> str:
        answer = self.request(
            "GET",
            f"/msi/token?api-version=2019-08-01&resource={resource}",
            headers={"X-IDENTITY-HEADER": self.credentials["api_key"]},
            token=None,
        )
        assert answer.status == 200, answer.body
        return str(answer.json["access_token"])

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        token: str | None = "key",
        timeout: float = 60.0,
    ) -> Answer:
        """One request without a client library; `body` that is not bytes goes as JSON. The token is the owner's key."""
        given = dict(headers or {})
        if token is not None:
            given["Authorization"] = f"Bearer {self.credentials['api_key'] if token == 'key' else token}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.address + path, data=data, headers=given, method=method)
        bundle = self.home / "bundle.pem"
        context = _trusting(bundle, bundle.stat().st_mtime_ns)
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
                return Answer(answer.status, _lower(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, _lower(error.headers), error.read())

    def put_job(self, name: str, command: str, **more: Any) -> Answer:
        """A command job in a bare Python, submitted as the SDK does."""
        environment = self.environment_version(
            "bare", {"image": f"python:{sys.version_info.major}.{sys.version_info.minor}"}
        )
        properties = {
            "jobType": "Command",
            "command": command,
            "environmentId": environment,
            "experimentName": "tests",
            **more,
        }
        return self.request(
            "PUT", f"{self.scope}/jobs/{name}?api-version=2025-01-01-preview", {"properties": properties}
        )

    def environment_version(self, name: str, properties: dict[str, Any]) -> str:
        """The id of version 1 of an environment, made if it is missing."""
        path = f"{self.scope}/environments/{name}/versions/1"
        answer = self.request("PUT", path + "?api-version=2023-04-01-preview", {"properties": properties})
        assert answer.status in (200, 201), answer.body
        return str(answer.json["id"])

    def job(self, name: str) -> dict[str, Any]:
        answer = self.request("GET", f"{self.scope}/jobs/{name}?api-version=2024-01-01-preview")
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found

    def status(self, name: str) -> str:
        return str(self.job(name)["properties"]["status"])

    def wait_for_job(self, name: str, *, seconds: float = 60.0) -> str:
        """The state the job ended in."""
        over = ("Completed", "Failed", "Canceled")
        return eventually(
            lambda: self.status(name), lambda state: state in over, seconds=seconds, what=f"the end of job {name}"
        )

    def job_log(self, name: str, file: str = "user_logs/std_log.txt") -> str:
        details = self.request("GET", f"/history/v1.0{self.scope}/runs/{name}/details").json
        answer = self.request("GET", details["logFiles"][file].removeprefix(self.address), token=None)
        assert answer.status == 200, answer.body
        return answer.body.decode()

    def log(self) -> str:
        """All that the server wrote, for the message of a failing test."""
        found = [self.home / "logs" / name for name in ("server.log", "application.log")]
        return "\n".join(path.read_text(errors="replace") for path in found if path.exists())


def eventually(look: Callable[[], T], good: Callable[[T], bool], *, seconds: float = 30.0, what: str = "it") -> T:
    """Look again and again, ever less often, until what is seen is good. Fails with the last thing seen."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while True:
        seen = look()
        if good(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {seconds:g} s for {what}; last seen: {seen!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


@functools.lru_cache
def _trusting(bundle: Path, _changed: int) -> ssl.SSLContext:
    """Reading all public roots takes longer than most requests, so it is done once a bundle."""
    return ssl.create_default_context(cafile=str(bundle))


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}

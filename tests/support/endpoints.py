"""An online endpoint made by the unmodified SDK, and what tests do with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.zaffre_server import Answer, ZaffreServer

CONDA = "dependencies:\n  - python=3.11\n  - pip:\n    - azureml-inference-server-http\n"
SCORE = """
import json, os, time

def init():
    print("init of", os.environ.get("COLOR"))

def run(raw):
    asked = json.loads(raw)
    if "sleep" in asked:
        time.sleep(asked["sleep"])
    if "fail" in asked:
        raise ValueError("asked to fail")
    return {"pid": os.getpid(), "color": os.environ.get("COLOR"), "echo": asked}
"""


class OnlineEndpoint:
    """`deploy` by the SDK, `score` as any HTTP client. Its deployments share one small model and environment."""

    def __init__(self, ml: Any, server: ZaffreServer, folder: Path, name: str, auth_mode: str = "key") -> None:
        from azure.ai.ml.entities import ManagedOnlineEndpoint, Model

        self.ml, self.server, self.folder, self.name = ml, server, folder, name
        model = folder / "model"
        model.mkdir(parents=True, exist_ok=True)
        (model / "name.txt").write_text("v1")
        (folder / "conda.yml").write_text(CONDA)
        self.model = ml.models.create_or_update(Model(name=name, path=str(model), type="custom_model"))
        ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode=auth_mode)).result()

    def deployment(self, name: str, score: str = SCORE, **more: Any) -> Any:
        """The entity; nothing is asked of the server yet."""
        from azure.ai.ml.entities import CodeConfiguration, Environment, ManagedOnlineDeployment

        code = self.folder / f"code-{name}"
        code.mkdir(exist_ok=True)
        (code / "score.py").write_text(score)
        fixed = {"instance_type": "Standard_DS3_v2", "instance_count": 1, "model": self.model}
        return ManagedOnlineDeployment(
            name=name,
            endpoint_name=self.name,
            code_configuration=CodeConfiguration(code=str(code), scoring_script="score.py"),
            environment=Environment(image="python:3.11", conda_file=str(self.folder / "conda.yml")),
            **{**fixed, **more},
        )

    def begin(self, deployment: Any) -> Any:
        return self.ml.online_deployments.begin_create_or_update(deployment)

    def deploy(self, name: str, score: str = SCORE, **more: Any) -> Any:
        return self.begin(self.deployment(name, score, **more)).result()

    def get(self, deployment: str) -> Any:
        return self.ml.online_deployments.get(deployment, self.name)

    def share(self, **traffic: int) -> Any:
        endpoint = self.ml.online_endpoints.get(self.name)
        endpoint.traffic = traffic
        return self.ml.online_endpoints.begin_create_or_update(endpoint).result()

    def score(
        self, body: Any = None, *, deployment: str | None = None, token: str | None = "", timeout: float = 90.0
    ) -> Answer:
        """One request; `token` is the primary key unless given."""
        if token == "":
            token = self.ml.online_endpoints.get_keys(self.name).primary_key
        headers = {"azureml-model-deployment": deployment} if deployment else {}
        path = f"/endpoints/{self.name}/score"
        return self.server.request("POST", path, body or {}, token=token, headers=headers, timeout=timeout)

    def score_at_once(self, count: int, body: Any, *, deployment: str | None = None) -> list[Answer]:
        """`count` requests in parallel, in the order of their answers' status."""
        key = self.ml.online_endpoints.get_keys(self.name).primary_key
        with ThreadPoolExecutor(count) as pool:
            asked = [pool.submit(self.score, body, deployment=deployment, token=key) for _ in range(count)]
            return sorted((one.result() for one in asked), key=lambda answer: answer.status)

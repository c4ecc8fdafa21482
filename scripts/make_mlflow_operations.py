"""Write the table of MLflow's REST operations from the descriptors of the installed mlflow.

    python scripts/make_mlflow_operations.py

An operation that a newer mlflow drops stays in the table, since older clients still ask for it: delete such lines by hand.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from mlflow.protos import databricks_pb2, mlflow_artifacts_pb2, model_registry_pb2, service_pb2, webhooks_pb2

TABLE = Path(__file__).parent.parent / "src" / "zaffre" / "protocols" / "mlflow" / "operations.csv"
SERVICES = (
    (service_pb2, "MlflowService"),
    (model_registry_pb2, "ModelRegistryService"),
    (mlflow_artifacts_pb2, "MlflowArtifactsService"),
    (webhooks_pb2, "WebhookService"),
)
# What clients ask for and no descriptor names.
BESIDE = (
    ("getServerInfo", "GET", "/api/3.0/mlflow/server-info"),
    ("getVersion", "GET", "/version"),
    ("exportSpans", "POST", "/v1/traces"),
    # asked for by MLflow's own pages, and by scripts that follow them
    ("getHealth", "GET", "/health"),
    ("getArtifact", "GET", "/get-artifact"),
    ("getModelVersionArtifact", "GET", "/model-versions/get-artifact"),
    ("getLoggedModelArtifact", "GET", "/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"),
    ("queryGraphQL", "POST", "/graphql"),
    ("getMetricHistoryBulk", "GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk"),
    ("createPromptlabRun", "POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run"),
    ("uploadRunArtifact", "POST", "/ajax-api/2.0/mlflow/upload-artifact"),
    ("proxyToGateway", "GET", "/ajax-api/2.0/mlflow/gateway-proxy"),
    ("proxyToGateway", "POST", "/ajax-api/2.0/mlflow/gateway-proxy"),
    # azureml-mlflow's own
    ("getRunDataStatus", "GET", "/api/2.0/preview/mlflow/runs/get-run-data-status"),
    ("logBatchAsync", "POST", "/api/2.0/preview/mlflow/runs/log-batch-async"),
)
Operation = tuple[str, str, str]


def main() -> None:
    found = dict.fromkeys((*_known(), *_described(), *BESIDE))
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("operation", "verb", "path"))
        writer.writerows(sorted(found, key=lambda one: (one[2], one[1])))
    print(f"{len(found)} operations in {TABLE}")


def _known() -> list[Operation]:
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        return [(row["operation"], row["verb"], row["path"]) for row in csv.DictReader(file)]


def _described() -> list[Operation]:
    found: list[Operation] = []
    for module, service in SERVICES:
        for method in module.DESCRIPTOR.services_by_name[service].methods:
            for endpoint in method.GetOptions().Extensions[databricks_pb2.rpc].endpoints:
                path = re.sub(r"<path:(\w+)>", r"{\1*}", "/" + endpoint.path.lstrip("/"))
                path = re.sub(r"\{([\w.]+)\}", lambda match: "{" + match[1].replace(".", "_") + "}", path)
                found.append((method.name, endpoint.method, f"/api/{endpoint.since.major}.0{path}"))
    return found


if __name__ == "__main__":
    main()

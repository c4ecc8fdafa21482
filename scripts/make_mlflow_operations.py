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
    # what judges and optimizers of mlflow 3 ask where a model is named `gateway:/…`
    ("invokeGatewayEndpoint", "POST", "/gateway/{endpoint_name}/mlflow/invocations"),
    ("listGatewayModels", "GET", "/gateway/mlflow/v1/models"),
    ("completeGatewayChat", "POST", "/gateway/mlflow/v1/chat/completions"),
    ("askGatewayTypesafe", "POST", "/gateway/typesafe/v1/systemone"),
    # azureml-mlflow's own
    ("getRunDataStatus", "GET", "/api/2.0/preview/mlflow/runs/get-run-data-status"),
    ("logBatchAsync", "POST", "/api/2.0/preview/mlflow/runs/log-batch-async"),
)
# mlflow 3.15's registry of MCP servers, which no descriptor names either; a name is one part of the path, its slashes encoded.
_MCP = "/api/3.0/mlflow/mcp-servers"
_SERVER, _VERSION = f"{_MCP}/{{name}}", f"{_MCP}/{{name}}/versions/{{version}}"
_ENDPOINT = f"{_SERVER}/endpoints/{{endpoint_id}}"
MCP = (
    ("createMcpServer", "POST", _MCP),
    ("searchMcpServers", "GET", _MCP),
    ("getMcpServer", "GET", _SERVER),
    ("updateMcpServer", "PATCH", _SERVER),
    ("deleteMcpServer", "DELETE", _SERVER),
    ("setMcpServerTag", "POST", f"{_SERVER}/tags"),
    ("deleteMcpServerTag", "DELETE", f"{_SERVER}/tags/{{key}}"),
    ("setMcpServerAlias", "POST", f"{_SERVER}/aliases"),
    ("getMcpServerVersionByAlias", "GET", f"{_SERVER}/aliases/{{alias}}"),
    ("deleteMcpServerAlias", "DELETE", f"{_SERVER}/aliases/{{alias}}"),
    ("createMcpServerVersion", "POST", f"{_SERVER}/versions"),
    ("searchMcpServerVersions", "GET", f"{_SERVER}/versions"),
    ("getMcpServerVersion", "GET", _VERSION),
    ("updateMcpServerVersion", "PATCH", _VERSION),
    ("deleteMcpServerVersion", "DELETE", _VERSION),
    ("setMcpServerVersionTag", "POST", f"{_VERSION}/tags"),
    ("deleteMcpServerVersionTag", "DELETE", f"{_VERSION}/tags/{{key}}"),
    ("createMcpAccessEndpoint", "POST", f"{_SERVER}/endpoints"),
    ("searchMcpServerEndpoints", "GET", f"{_SERVER}/endpoints"),
    ("searchMcpAccessEndpoints", "GET", f"{_MCP}/endpoints"),
    ("getMcpAccessEndpoint", "GET", _ENDPOINT),
    ("updateMcpAccessEndpoint", "PATCH", _ENDPOINT),
    ("deleteMcpAccessEndpoint", "DELETE", _ENDPOINT),
)
Operation = tuple[str, str, str]


def main() -> None:
    found = dict.fromkeys((*_known(), *_described(), *BESIDE, *MCP))
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

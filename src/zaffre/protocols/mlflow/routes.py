"""MLflow's operations as routes below a workspace's tracking URI; those nobody serves answer 501 with their name."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import WORKSPACE, Route, not_served
from zaffre.protocols.mlflow.addresses import PLAIN, PLUGIN, address_book
from zaffre.protocols.mlflow.artifacts import Artifacts
from zaffre.protocols.mlflow.direct_artifacts import DirectArtifactHandlers
from zaffre.protocols.mlflow.evaluation_datasets import EvaluationDatasetHandlers
from zaffre.protocols.mlflow.experiments import Experiments
from zaffre.protocols.mlflow.gateway_calls import GatewayCalls
from zaffre.protocols.mlflow.gateway_records import GatewayRecords
from zaffre.protocols.mlflow.graphql import GraphQL
from zaffre.protocols.mlflow.issues import IssueHandlers
from zaffre.protocols.mlflow.label_schemas import LabelSchemaHandlers
from zaffre.protocols.mlflow.logged_models import LoggedModels
from zaffre.protocols.mlflow.mcp_servers import McpServerHandlers
from zaffre.protocols.mlflow.old_traces import OldTraces
from zaffre.protocols.mlflow.registry import Registry
from zaffre.protocols.mlflow.review_queues import ReviewQueueHandlers
from zaffre.protocols.mlflow.runs import Runs
from zaffre.protocols.mlflow.scorers import ScorerHandlers
from zaffre.protocols.mlflow.table import REFUSED, Served, operations
from zaffre.protocols.mlflow.traces import Traces
from zaffre.protocols.mlflow.webhooks import WebhookHandlers
from zaffre.services.blobs import Blobs
from zaffre.services.direct_artifacts import DirectArtifacts
from zaffre.services.model_gateway import ModelGateway
from zaffre.services.registered_models import RegisteredModels
from zaffre.services.tracking import Tracking
from zaffre.services.webhooks import Webhooks
from zaffre.settings import Settings

PROTOCOL = "mlflow"
PREFIXES = (PLAIN, *PLUGIN)
API, AJAX = "/api/", "/ajax-api/"
VERSION = "3.11.2"


def routes(
    settings: Settings,
    tracking: Tracking,
    models: RegisteredModels,
    blobs: Blobs,
    direct: DirectArtifacts,
    webhooks: Webhooks,
    gateway: ModelGateway,
) -> list[Route]:
    """A route for every operation of the table, below each of the addresses a tracking URI may have."""
    at = address_book(settings)
    served: Served = {
        **Experiments(tracking, at).operations(),
        **Runs(tracking, at).operations(),
        **LoggedModels(tracking, at).operations(),
        **Traces(tracking).operations(),
        **OldTraces(tracking).operations(),
        **LabelSchemaHandlers(tracking).operations(),
        **ReviewQueueHandlers(tracking).operations(),
        **ScorerHandlers(tracking).operations(),
        **IssueHandlers(tracking).operations(),
        **McpServerHandlers(tracking).operations(),
        **Registry(models, at).operations(),
        **WebhookHandlers(webhooks).operations(),
        **EvaluationDatasetHandlers(tracking).operations(),
        **GatewayRecords(gateway).operations(),
        **GatewayCalls(gateway).operations(),
        **Artifacts(tracking, models, blobs, at, settings.kept_bodies).operations(),
        **DirectArtifactHandlers(settings, tracking, direct).operations(),
        "getServerInfo": (_server_info, "workspaces/read"),
        "getHealth": (_health, "workspaces/read"),
        "getVersion": (_version, "workspaces/read"),
    }
    served["queryGraphQL"] = (GraphQL(served).query, "workspaces/experiments/read")
    made: list[Route] = []
    for one in operations():
        refused = not_served(f"MLflow's {one.operation}", REFUSED.get(one.operation, ""))
        handler, action = served.get(one.operation) or (refused, "workspaces/read")
        made += [
            Route(
                protocol=PROTOCOL,
                method=one.verb,
                template=f"{prefix}{WORKSPACE}{path}",
                handler=handler,
                operation=one.operation,
                action=action,
                keeps_body=one.operation == "uploadArtifact",
            )
            for prefix in PREFIXES
            for path in _paths(one.path)
        ]
    return made


def _paths(path: str) -> tuple[str, ...]:
    """MLflow's own pages ask for the same operations below another name. An MCP server's holds a slash, which is written as it is, too."""
    paths = (path, path.replace("/{name}", "/{namespace}/{slug}", 1)) if "/mcp-servers/{name}" in path else (path,)
    return tuple(one for way in paths for one in ((way, way.replace(API, AJAX, 1)) if way.startswith(API) else (way,)))


async def _health(_call: Call) -> Response:
    return PlainTextResponse("OK")


async def _version(_call: Call) -> Response:
    """The MLflow whose operations these are; newer clients ask before they send what an older server would not know."""
    return PlainTextResponse(VERSION)


async def _server_info(_call: Call) -> Response:
    """What mlflow 3 asks before it sends or fetches a file: whether to go past the proxy (see `direct_artifacts`)."""
    return json_answer(
        {
            "store_type": "SqlStore",
            "workspaces_enabled": False,
            "multipart_uploads_enabled": False,
            "multipart_downloads_enabled": False,
            "presigned_upload_run_id_supported": True,
            "presigned_upload_model_id_supported": True,
        }
    )

"""The environment variables of a job (clients.md §B.4): an allow-list, never the server's own."""

from __future__ import annotations

import json
from pathlib import Path

from zaffre.services.workspaces import Workspace
from zaffre.settings import CLOUD_NAME, Settings
from zaffre.store.jobs import JobRow


def variables(settings: Settings, workspace: Workspace, job: JobRow, folder: Path, token: str) -> dict[str, str]:
    """What a job's process finds, but for the paths of its data, which its plan holds."""
    address, scope = settings.address, workspace.path
    work = folder / "wd"
    found = {
        "AZUREML_RUN_ID": job.id,
        "AZUREML_ROOT_RUN_ID": job.root,
        "AZUREML_RUN_TOKEN": token,
        "AZUREML_SERVICE_ENDPOINT": address,
        "AZUREML_RUN_HISTORY_SERVICE_ENDPOINT": address,
        "AZUREML_DISCOVERY_SERVICE_ENDPOINT": f"{address}/discovery",
        "AZUREML_ARM_SUBSCRIPTION": workspace.subscription,
        "AZUREML_ARM_RESOURCEGROUP": workspace.resource_group,
        "AZUREML_ARM_WORKSPACE_NAME": workspace.name,
        "AZUREML_ARM_PROJECT_NAME": job.experiment,
        "AZUREML_WORKSPACE_ID": workspace.id,
        "AZUREML_WORKSPACE_SCOPE": scope,
        "AZUREML_EXPERIMENT_ID": job.experiment_id,
        "AZUREML_EXPERIMENT_SCOPE": f"{scope}/experiments/{job.experiment}",
        "AZUREML_CURRENT_CLOUD": CLOUD_NAME,
        "ARM_CLOUD_METADATA_URL": f"{address}/metadata/endpoints",
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{address}/",
        "AZUREML_DATA_CONTAINER_ID": f"dcid.{job.id}",
        "AZUREML_NODE_COUNT": "1",
        "AZUREML_CR_EXECUTION_WORKING_DIR_PATH": str(work),
        "AZUREML_CR_HT_CAP_user_logs_PATH": str(folder / "user_logs"),
        "AZUREML_CR_HT_CAP_logs_PATH": str(work / "logs"),
        "AZUREML_CR_HT_CAP_outputs_PATH": str(work / "outputs"),
        "AZUREML_CR_HT_CAP_azureml_logs_PATH": str(folder / "azureml-logs"),
        "AZUREML_LOGDIRECTORY_PATH": str(folder / "azureml-logs"),
        "AZUREML_CR_AZUREML_CONTEXT": json.dumps(
            {
                "subscription_id": workspace.subscription,
                "resource_group": workspace.resource_group,
                "workspace_name": workspace.name,
                "workspace_id": workspace.id,
                "service_endpoint": address,
                "experiment_id": job.experiment_id,
                "experiment_name": job.experiment,
                "run_id": job.id,
                "root_run_id": job.root,
            }
        ),
        "AZ_BATCHAI_JOB_WORK_DIR": str(work),
        "AZ_BATCHAI_JOB_TEMP": str(folder / "tmp"),
        "AZ_BATCHAI_TASK_INDEX": "0",
        "AZ_BATCHAI_JOB_MASTER_NODE_IP": "127.0.0.1",
        "AZ_BATCH_MASTER_NODE": "127.0.0.1:6000",
        "AZ_BATCH_NODE_ID": job.node,
        "AZ_BATCH_IS_CURRENT_NODE_MASTER": "true",
        "AZ_BATCH_HOST_LIST": "127.0.0.1",
        "IDENTITY_ENDPOINT": f"{address}/msi/token",
        "IDENTITY_HEADER": token,
        "MLFLOW_TRACKING_URI": f"{address}/tracking{scope}",
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_RUN_ID": job.id,
        "MLFLOW_EXPERIMENT_ID": job.experiment_id,
        "MLFLOW_EXPERIMENT_NAME": job.experiment,
        # A server that is restarted must not fail a job: with ten tries mlflow lasts for minutes.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "10",
        "REQUESTS_CA_BUNDLE": str(settings.bundle),
        "SSL_CERT_FILE": str(settings.bundle),
        "CURL_CA_BUNDLE": str(settings.bundle),
    }
    properties = job.body["properties"]
    for name, value in properties["inputs"].items():
        if value["jobInputType"] == "literal" and value.get("value") is not None:
            found[f"AZUREML_PARAMETER_{name}"] = value["value"]
    client = (properties.get("identity") or {}).get("clientId")
    if client:
        found["DEFAULT_IDENTITY_CLIENT_ID"] = client
    return found

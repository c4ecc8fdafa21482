"""Write the tables of operations that the dispatchers read, from the reference's list of what the clients can say.

    python scripts/make_operations.py ../shared/reference/operations.csv

One row an operation: its name, verb and path. Paths that differ only in the names of their parameters are one operation;
the workspace's parameters are renamed to the ones every route uses.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

SOURCE_TREE = Path(__file__).parent.parent / "src" / "zaffre" / "protocols"
ARM_CLIENTS = ("azure-ai-ml 1.35.2 arm_ml_service", "azure-mgmt-machinelearningservices 2.0.0b2")
PLANES = {
    "azure-ai-ml 1.35.2 runhistory": "/history/v1.0",
    "azure-ai-ml 1.35.2 dataset_dataplane": "/data/v1.0",
    "azure-ai-ml 1.35.2 model_dataplane": "/modelregistry/v1.0",
}
# Said by the SDK through a generic client, so in none of the generated lists (wire.md §5.1).
_GROUP = "/subscriptions/{subscriptionId}/resourcegroups/{resourceGroupName}"
_WORKSPACE = (
    "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspaceName}"
)
MORE_ARM = (
    ("Deployments_CreateOrUpdate", "PUT", f"{_GROUP}/providers/Microsoft.Resources/deployments/{{deploymentName}}"),
    ("Deployments_Get", "GET", f"{_GROUP}/providers/Microsoft.Resources/deployments/{{deploymentName}}"),
    ("DeploymentOperations_List", "GET", f"{_GROUP}/deployments/{{deploymentName}}/operations"),
    (
        "DeploymentOperations_ListByProvider",
        "GET",
        f"{_GROUP}/providers/Microsoft.Resources/deployments/{{deploymentName}}/operations",
    ),
    ("ResourceGroups_Get", "GET", _GROUP),
    ("ResourceGroups_CheckExistence", "HEAD", _GROUP),
    ("ResourceGroups_CreateOrUpdate", "PUT", _GROUP),
    ("ResourceGroups_Delete", "DELETE", _GROUP),
    ("ResourceGroups_List", "GET", "/subscriptions/{subscriptionId}/resourcegroups"),
    ("Workspaces_Join", "PUT", f"/rp/workspaces{_WORKSPACE}/join/{{projectName}}"),
    ("Compute_EnableSso", "POST", f"{_WORKSPACE}/computes/{{computeName}}/enableSso"),
)


def main(source: Path) -> None:
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    arm = [(r["operationId"], r["verb"], r["path"]) for r in rows if r["client"] in ARM_CLIENTS]
    write(SOURCE_TREE / "arm" / "operations.csv", unique([*arm, *MORE_ARM]))
    planes = [(r["operationId"], r["verb"], plane_path(r)) for r in rows if r["client"] in PLANES]
    write(SOURCE_TREE / "history" / "operations.csv", unique(planes))


def plane_path(row: dict[str, str]) -> str:
    path = row["path"]
    prefix = PLANES[row["client"]]
    return path if path.startswith(prefix) else prefix + "/" + path.lstrip("/")


def unique(operations: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    found: dict[tuple[str, str], tuple[str, str, str]] = {}
    for name, verb, path in operations:
        path = re.sub(r"(?i)(?<=/workspaces/)\{[^}]+\}(?=/|$)", "{workspaceName}", path)
        found.setdefault((verb, re.sub(r"\{[^}]+\}", "{}", path).lower()), (name, verb, path))
    return sorted(found.values(), key=lambda row: (row[2].lower(), row[1]))


def write(path: Path, operations: list[tuple[str, str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("operation", "verb", "path"))
        writer.writerows(operations)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The table of MLflow's operations: the contract as data. What no handler claims is refused, by name."""

from __future__ import annotations

import csv
from importlib import resources

import msgspec

from zaffre.gateway.routes import Handler

REFUSED = {
    **dict.fromkeys(
        ("getOnlineTraceDetails", "searchUnifiedTraceHandler"),
        "only MLflow's store for Databricks asks for it, and it reads that service's own tables",
    ),
    **dict.fromkeys(
        (
            "createBudgetPolicy",
            "getBudgetPolicy",
            "listBudgetPolicies",
            "updateBudgetPolicy",
            "deleteBudgetPolicy",
            "listBudgetWindows",
        ),
        "budgets are in US dollars, and Zaffre keeps no list of what models cost (docs/gateway.md)",
    ),
    **dict.fromkeys(
        (
            "addGuardrailToEndpoint",
            "createGatewayGuardrail",
            "deleteGatewayGuardrail",
            "getGatewayGuardrail",
            "listGatewayGuardrails",
            "listEndpointGuardrailConfigs",
            "removeGuardrailFromEndpoint",
            "updateEndpointGuardrailConfig",
        ),
        "a guardrail asks a judge within the server, and Zaffre runs none there (docs/gateway.md)",
    ),
    **dict.fromkeys(
        (
            "createPromptOptimizationJob",
            "getPromptOptimizationJob",
            "searchPromptOptimizationJobs",
            "cancelPromptOptimizationJob",
            "deletePromptOptimizationJob",
        ),
        "the optimizer would run within the server; run mlflow.genai.optimize_prompts in a job instead",
    ),
    **dict.fromkeys(
        ("listWorkspaces", "createWorkspace", "getWorkspace", "updateWorkspace", "deleteWorkspace"),
        "a tracking URI of Zaffre names its workspace, and MLflow's clients are told that there are no others behind it",
    ),
    "createPromptlabRun": "Prompt Lab is a page of MLflow's own, which Zaffre does not serve",
    "proxyToGateway": "it is for MLflow's former AI gateway, a server of its own; see docs/gateway.md for ours",
}
"""Operations that are not served for a reason, and the reason; what is merely not built yet is not among them."""
IN_PART = {
    "setOnlineScoringConfig": "a sample rate above 0 is answered 501: this server runs no judges by itself",
}
"""Operations of which something is refused that MLflow does, and why."""
Served = dict[str, tuple[Handler, str]]  # by operation: who answers, and the action it takes to ask


class Operation(msgspec.Struct, frozen=True):
    """`path` is what stands behind the tracking URI."""

    operation: str
    verb: str
    path: str


def operations() -> list[Operation]:
    """Every operation of MLflow's REST surface."""
    text = resources.files("zaffre.protocols.mlflow").joinpath("operations.csv").read_text()
    return [Operation(**row) for row in csv.DictReader(text.splitlines())]

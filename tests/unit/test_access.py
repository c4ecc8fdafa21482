"""Who may do what: every operation there is, whether it is served yet or not."""

from __future__ import annotations

import pytest

from zaffre.errors import Denied
from zaffre.protocols.arm import table
from zaffre.protocols.arm.routes import _action
from zaffre.services.access import READER, RUN, Principal, authorize

JOB = Principal(id="job", name="ada", role=RUN, scope="mine", run="job")
# What a job makes, moves or looks at beside reading.
FOR_JOBS = ("codes", "components", "data", "environments", "models")
ACTIONS = sorted({_action(one) for one in table.load()})


@pytest.mark.parametrize(
    "action",
    [
        *("workspaces/read", "workspaces/jobs/read", "workspaces/operations/read", "workspaces/jobs/cancel"),
        *("workspaces/blobs/write", "workspaces/experiments/runs/write", "workspaces/runs/token"),
        *("workspaces/models/versions/write", "workspaces/codes/versions/startPendingUpload"),
        *("workspaces/datastores/listSecrets", "workspaces/onlineEndpoints/score"),
    ],
)
def test_what_a_job_may_in_its_own_workspace(action: str) -> None:
    authorize(JOB, action, "mine")
    for other in ("other", None):
        with pytest.raises(Denied):
            authorize(JOB, action, other)


def test_a_job_submits_no_work_deploys_nothing_and_is_told_no_keys() -> None:
    """Also by what is not served yet: who builds it must not have to think of it."""
    kept = ("workspaces/datastores/listSecrets", "workspaces/jobs/cancel", "workspaces/computes/listNodes")
    for action in ACTIONS:
        if action.endswith("/read") or action in kept or action.split("/")[1] in FOR_JOBS:
            continue
        if action != "workspaces/onlineEndpoints/deployments/getLogs":
            with pytest.raises(Denied):
                authorize(JOB, action, "mine")


def test_a_reader_reads() -> None:
    reader = Principal(id="1", name="ada", role=READER)
    for action in ACTIONS:
        if action.endswith("/read"):
            authorize(reader, action, "any")
        else:
            with pytest.raises(Denied):
                authorize(reader, action, "any")

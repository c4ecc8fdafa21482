"""Workspaces and computes by whatever azure-ai-ml this Python has; what came of it is printed as JSON behind FOUND."""

from __future__ import annotations

import json
import os
import sys

from azure.ai.ml import MLClient
from azure.ai.ml._version import VERSION
from azure.ai.ml.entities import (
    AmlCompute,
    ComputeInstance,
    ComputeSchedules,
    ComputeStartStopSchedule,
    RecurrencePattern,
    RecurrenceTrigger,
    VirtualMachineCompute,
    VirtualMachineSshSettings,
    Workspace,
)
from azure.identity import DefaultAzureCredential

name = sys.argv[1]
group = MLClient(DefaultAzureCredential(), os.environ["AZURE_SUBSCRIPTION_ID"], f"group-{name}")
found = {"version": VERSION}

made = group.workspaces.begin_create(Workspace(name=name, description="d", location="local", tags={"a": "b"})).result()
made.tags, made.display_name = {"c": "d"}, "Shown"
changed = group.workspaces.begin_update(made).result()
keys = group.workspaces.get_keys(name)
group.workspaces.begin_sync_keys(name).result()
diagnosis = group.workspaces.begin_diagnose(name).result()
found["workspace"] = [
    changed.display_name,
    changed.tags,
    changed.description,
    [one.name for one in group.workspaces.list()],
    bool(keys.user_storage_key) and str(keys.user_storage_resource_id).rpartition("/")[0].rpartition("/")[2],
    group.workspaces.get_keys(name).user_storage_key != keys.user_storage_key,
    [one.code for one in diagnosis.other_results],
]

ml = MLClient(DefaultAzureCredential(), os.environ["AZURE_SUBSCRIPTION_ID"], f"group-{name}", name)
cluster = ml.compute.begin_create_or_update(AmlCompute(name="cpu", size="STANDARD_DS3_V2", max_instances=2)).result()
cluster.max_instances = 3
found["cluster"] = [
    cluster.size,
    ml.compute.begin_update(cluster).result().max_instances,
    [str(node) for node in ml.compute.list_nodes("cpu")],
]
pattern = RecurrencePattern(hours=[18], minutes=[0], week_days=["monday", "friday"])
schedule = ComputeStartStopSchedule(
    trigger=RecurrenceTrigger(frequency="week", interval=1, schedule=pattern, time_zone="Pacific Standard Time"),
    action="stop",
)
instance = ml.compute.begin_create_or_update(
    ComputeInstance(name="ci", size="STANDARD_DS3_V2", schedules=ComputeSchedules(compute_start_stop=[schedule]))
).result()
states = [instance.state]
for step in (ml.compute.begin_stop, ml.compute.begin_start, ml.compute.begin_restart, ml.compute.begin_stop):
    step("ci").result()
    states.append(ml.compute.get("ci").state)
kept = ml.compute.get("ci").schedules.compute_start_stop[0]
found["instance"] = [states, kept.action, kept.trigger.frequency, kept.trigger.schedule.week_days]
vm = ml.compute.begin_attach(
    VirtualMachineCompute(
        name="vm",
        resource_id="/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm",
        ssh_settings=VirtualMachineSshSettings(admin_username="me", admin_password="word"),
    )
).result()
found["attached"] = [vm.provisioning_errors, [one.name for one in ml.compute.list(compute_type="virtualmachine")]]
found["sizes"] = len(ml.compute.list_sizes()) > 100 and len(list(ml.compute.list_usage())) == 3
ml.compute.begin_delete("vm", action="Detach").result()
for one in ("cpu", "ci"):
    ml.compute.begin_delete(one).result()
found["left"] = [one.name for one in ml.compute.list()]
group.workspaces.begin_delete(name, delete_dependent_resources=True, permanently_delete=True).result()
found["workspaces"] = [one.name for one in group.workspaces.list()]
print("FOUND", json.dumps(found))

"""What an endpoint and a deployment may say of how they serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from zaffre.control.serving_plan import recall
from zaffre.errors import InvalidInput, ZaffreError
from zaffre.services import kinds
from zaffre.services.kinds.deployments import MOST_INSTANCES, with_sku
from zaffre.serving import console, release
from zaffre.serving.plan import DeploymentPlan, Probe
from zaffre.store.resources import Row

KINDS = kinds.load()
ENDPOINT, DEPLOYMENT = "workspaces/onlineEndpoints", "workspaces/onlineEndpoints/deployments"


def accept(type_: str, **properties: Any) -> dict[str, Any]:
    body: dict[str, Any] = KINDS[type_].accept({"properties": properties})["properties"]
    return body


@pytest.mark.parametrize(
    ("mirror", "traffic", "why"),
    [
        ({"green": 51}, {}, "at most 50"),
        ({"green": 10, "red": 10}, {}, "one deployment"),
        ({"green": 10}, {"Green": 100}, "traffic of its own"),
        ({"green": -1}, {}, "0 to 100"),
    ],
)
def test_copies_go_to_one_idle_deployment_and_are_half_at_most(
    mirror: dict[str, int], traffic: dict[str, int], why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        accept(ENDPOINT, authMode="Key", mirrorTraffic=mirror, traffic=traffic)
    assert accept(ENDPOINT, authMode="Key", mirrorTraffic={"green": 50, "red": 0})["mirrorTraffic"]["green"] == 50


@pytest.mark.parametrize("mode", ["key", "amltoken", "AMLToken", "aadtoken"])
def test_every_way_to_know_a_caller(mode: str) -> None:
    assert accept(ENDPOINT, authMode=mode)["authMode"] in ("Key", "AMLToken", "AADToken")


def test_the_number_of_instances() -> None:
    assert with_sku({})["sku"] == {"name": "Default", "capacity": 1}
    assert with_sku({"sku": {"name": "Default", "capacity": None}})["sku"]["capacity"] == 1
    assert with_sku({"sku": {"name": "Other", "capacity": 3, "tier": "x"}})["sku"] == {
        "name": "Other",
        "capacity": 3,
        "tier": "x",
    }
    for wrong in (0, -1, MOST_INSTANCES + 1, 1.5, "2", True, []):
        with pytest.raises(InvalidInput, match=r"sku\.capacity"):
            with_sku({"sku": {"capacity": wrong}})
    for wrong_sku in ("Default", {"name": 5}):
        with pytest.raises(InvalidInput, match="sku"):
            with_sku({"sku": wrong_sku})


def test_what_the_platform_tells_is_not_kept_when_it_comes_back() -> None:
    made = accept(DEPLOYMENT, model="m", properties={"zaffre.error": "x", "mine": "y"})
    assert made["properties"] == {"mine": "y"}


@pytest.mark.parametrize(
    ("properties", "status", "field"),
    [
        ({"modelMountPath": "/x"}, 501, "modelMountPath"),
        ({"scaleSettings": {"scaleType": "TargetUtilization"}}, 501, "scaleSettings"),
        ({"egressPublicNetworkAccess": "Sometimes"}, 400, "egressPublicNetworkAccess"),
        ({"environmentVariables": {"": "x"}}, 400, "environmentVariables"),
        ({"dataCollector": {"collections": {"a": {"samplingRate": 2}}}}, 400, "samplingRate"),
        ({"dataCollector": {"collections": {"a": {"dataCollectionMode": "x"}}}}, 400, "dataCollectionMode"),
        ({"dataCollector": {"collections": {}, "rollingRate": "Weekly"}}, 400, "rollingRate"),
        ({"livenessProbe": {"period": "PT0.01S"}}, 400, "livenessProbe.period"),
    ],
)
def test_what_cannot_be_is_named(properties: dict[str, Any], status: int, field: str) -> None:
    with pytest.raises(ZaffreError) as caught:
        accept(DEPLOYMENT, model="m", **properties)
    assert caught.value.status == status and field in f"{caught.value.target} {caught.value.message}"


def test_instances_differ_in_name_folder_and_socket_only(tmp_path: Path) -> None:
    base = DeploymentPlan(
        id="base",
        endpoint="ep",
        deployment="blue",
        folder=str(tmp_path),
        interpreter="/bin/python",
        socket=str(tmp_path),
        kind="mlflow",
        model_dir=str(tmp_path),
    )
    base = release.watched(base, Probe(initial_delay_s=5, period_s=2, failure_threshold=3), Probe(success_threshold=2))
    assert base.startup_timeout_s == 5 + 2 * 3 + 10
    two = release.instances(base, tmp_path / "slug-4", tmp_path / "d", "slug", 2)
    assert [(p.id, Path(p.folder).name, Path(p.socket).name) for p in two] == [
        ("slug-4-0", "i0", "slug-0.sock"),
        ("slug-4-1", "i1", "slug-1.sock"),
    ]
    same = {"id": "x", "folder": "/", "socket": "/"}
    assert len({msgspec.json.encode(msgspec.structs.replace(one, **same)) for one in two}) == 1


def test_logs_of_the_newest_release(tmp_path: Path) -> None:
    assert release.read_logs(tmp_path, "slug", 10, None) == ""
    for name, text in (("slug-2", "old"), ("slug-10", "new")):
        (tmp_path / name / "i0").mkdir(parents=True)
        (tmp_path / name / release.INITIALIZER).write_text(f"prepared {text}\n")
        (tmp_path / name / "i0" / console.NAME).write_text(f"one {text}\ntwo {text}\n")
    assert release.read_logs(tmp_path, "slug", 10, None) == "prepared new\none new\ntwo new"
    assert release.read_logs(tmp_path, "slug", 2, None) == "one new\ntwo new"
    assert release.read_logs(tmp_path, "slug", 10, "StorageInitializer") == "prepared new"
    assert release.read_logs(tmp_path, "slug", 10, "InferenceServer") == "one new\ntwo new"
    (tmp_path / "slug-10" / "i1").mkdir()
    (tmp_path / "slug-10" / "i1" / console.NAME).write_text("other\n")
    assert release.read_logs(tmp_path, "slug", 10, "InferenceServer").splitlines() == [
        *("==> instance 0 <==", "one new", "two new", "==> instance 1 <==", "other"),
    ]


def test_a_deployment_kept_before_there_were_releases_is_recalled(tmp_path: Path) -> None:
    plan = DeploymentPlan(
        id="slug-2",
        endpoint="ep",
        deployment="blue",
        folder=str(tmp_path / "slug-2"),
        interpreter="/bin/python",
        socket=str(tmp_path / "slug-0.sock"),
        kind="mlflow",
        model_dir=str(tmp_path),
        request_timeout_s=7.0,
    )
    older = {"slug": "slug", "current": "slug-2", "plan": msgspec.to_builtins(plan), "restarts": 3}
    found = recall(_row(older))
    assert found is not None
    assert (found.id, found.plans, found.timeout_ms) == ("slug-2", (plan,), 7000)
    kept = recall(_row({**older, "release": msgspec.to_builtins(found)}))
    assert kept == found
    assert recall(_row({"slug": "slug"})) is None


def _row(server: dict[str, Any]) -> Row:
    plain: dict[str, Any] = dict.fromkeys(Row.__struct_fields__, "")
    return Row(**{**plain, "pk": 1, "generation": 2, "body": {"properties": {}}, "server": server})

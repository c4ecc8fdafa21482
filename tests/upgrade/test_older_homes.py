"""A home of an older version opens as it was left: records, bytes, secrets, keys and what was deployed."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.zaffre_server import ZaffreServer, eventually
from zaffre.store.migrations import HEAD

HOMES = sorted((Path(__file__).parent / "homes").glob("schema-*.tar.gz"))


@pytest.fixture(scope="module", params=HOMES, ids=lambda path: path.name.partition(".")[0])
def older(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZaffreServer]:
    """A server started on an unpacked copy. Such a home was filled by scripts/make_upgrade_home.py."""
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(request.param) as packed:
        packed.extractall(folder, filter="data")
    running = ZaffreServer(folder / "home").up()
    yield running
    running.destroy()


def test_every_schema_that_was_released_is_kept() -> None:
    """The newest home may be one schema behind: it is packed before the next change."""
    kept = {path.name.split("-")[1].partition(".")[0] for path in HOMES}
    assert "0001" in kept
    assert kept <= {f"{number:04}" for number in range(1, int(HEAD) + 1)}


def test_the_database_was_backed_up_before_it_was_changed(older: ZaffreServer) -> None:
    if HEAD == "0001":
        pytest.skip("nothing newer than the oldest home yet")
    assert list(older.home.glob("zaffre.db.schema-*.backup"))


def test_a_job_is_there_with_its_log_its_output_and_its_tags(older: ZaffreServer) -> None:
    job = older.job("trained")["properties"]
    assert (job["status"], job["experimentName"], job["tags"]["team"]) == ("Completed", "before", "blue")
    assert "read ['a,b', '1,2']" in older.job_log("trained")
    listed = older.request("GET", f"{older.scope}/jobs?api-version=2024-01-01-preview").json["value"]
    assert [one["name"] for one in listed] == ["trained"]
    account = older.request("GET", f"{older.scope}/datastores/workspaceblobstore?api-version=2024-10-01-preview").json
    place = f"/{account['properties']['accountName'].rpartition('/')[2]}.blob.core.windows.net"
    container = account["properties"]["containerName"]
    secret = older.request(
        "POST",
        f"{older.scope}/datastores/workspaceblobstore/listSecrets?api-version=2024-10-01-preview",
        {"expirableSecret": True, "expireAfterHours": 1},
    ).json
    path = f"{place}/{container}/azureml/trained/model/weights.txt?{secret['sasToken']}"
    assert older.request("GET", path, token=None).body == b"42"


def test_runs_and_models_of_mlflow_are_there(older: ZaffreServer) -> None:
    plane = f"/tracking{older.scope}/api/2.0/mlflow"
    experiment = older.request("GET", f"{plane}/experiments/get-by-name?experiment_name=notebook").json["experiment"]
    found = older.request("POST", f"{plane}/runs/search", {"experiment_ids": [experiment["experiment_id"]]}).json
    (run,) = found["runs"]
    assert run["info"]["run_name"] == "by hand"
    assert {"key": "depth", "value": "3"} in run["data"]["params"]
    query = f"run_id={run['info']['run_id']}&metric_key=loss"
    history = older.request("GET", f"{plane}/metrics/get-history?{query}").json["metrics"]
    assert [point["step"] for point in history] == list(range(10))
    version = older.request("GET", f"{plane}/registered-models/alias?name=by-mlflow&alias=champion").json
    assert version["model_version"]["version"] == "1"
    assert older.request("GET", f"{older.scope}/models/named/versions/1?api-version=2023-08-01-preview").status == 200


def test_what_was_deployed_scores_again_with_its_old_key(older: ZaffreServer) -> None:
    endpoint = f"{older.scope}/onlineEndpoints/before-upgrade"
    key = older.request("POST", f"{endpoint}/listKeys?api-version=2022-02-01-preview").json["primaryKey"]
    uri = older.request("GET", f"{endpoint}?api-version=2022-02-01-preview").json["properties"]["scoringUri"]
    answer = eventually(
        lambda: older.request("POST", uri.removeprefix(older.address), {"x": 1}, token=key),
        lambda seen: seen.status == 200,
        seconds=180,
        what="the deployment to score",
    )
    assert answer.json == {"model": "v1", "echo": {"x": 1}}


def test_new_work_is_taken(older: ZaffreServer) -> None:
    assert older.put_job("after", "echo after").status == 201
    assert older.wait_for_job("after", seconds=120) == "Completed"
    assert "after" in older.job_log("after")

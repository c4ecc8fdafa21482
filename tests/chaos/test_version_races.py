"""Two clients that make the next version of one asset at the same moment, fifty times each."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.chaos.clients import ARM, Tracking, pages
from tests.support.zaffre_server import ZaffreServer

TIMES = 50


def test_next_version_by_arm(server: ZaffreServer) -> None:
    """As the SDK does without a version: read the container's next one, take it, and on a conflict read again."""
    path = f"{server.scope}/data/raced"

    def make(who: int, i: int) -> str:
        while True:
            found = server.request("GET", f"{path}?{ARM}")
            number = found.json["properties"]["nextVersion"] if found.status == 200 else "1"
            uri = f"azureml://datastores/workspaceblobstore/paths/{who}/{i}/"
            body = {"properties": {"dataType": "uri_folder", "dataUri": uri, "tags": {"by": f"{who}/{i}"}}}
            made = server.request("PUT", f"{path}/versions/{number}?{ARM}", body)
            if made.status == 201:
                return str(made.json["name"])
            assert made.status == 409, made.body

    given = _both(make)
    assert sorted(map(int, given.values())) == list(range(1, 2 * TIMES + 1))
    kept = {version["properties"]["tags"]["by"]: version["name"] for version in pages(server, f"{path}/versions")}
    assert kept == {f"{who}/{i}": number for (who, i), number in given.items()}


def test_next_version_by_mlflow(server: ZaffreServer) -> None:
    """MLflow leaves the number to the server."""
    tracking = Tracking(server)
    run = tracking.start_run("raced models")
    assert tracking.ask("POST", "registered-models/create", {"name": "raced"}).status == 200

    def make(who: int, i: int) -> str:
        body = {
            "name": "raced",
            "source": f"runs:/{run}/model/{who}/{i}",
            "run_id": run,
            "tags": [{"key": "by", "value": f"{who}/{i}"}],
        }
        made = tracking.ask("POST", "model-versions/create", body)
        assert made.status == 200, made.body
        return str(made.json["model_version"]["version"])

    given = _both(make)
    assert sorted(map(int, given.values())) == list(range(1, 2 * TIMES + 1))
    # The same versions as ARM sees them.
    names = [int(version["name"]) for version in pages(server, f"{server.scope}/models/raced/versions")]
    assert sorted(names) == list(range(1, 2 * TIMES + 1))
    for (who, i), number in given.items():
        found = tracking.ask("GET", "model-versions/get", {"name": "raced", "version": number})
        assert found.json["model_version"]["tags"] == [{"key": "by", "value": f"{who}/{i}"}]


def _both(make: Callable[[int, int], str]) -> dict[tuple[int, int], str]:
    """Two threads that call `make` with their number, fifty times, in step with each other; what each call returned."""
    given: dict[tuple[int, int], str] = {}
    failures: list[BaseException] = []
    together = threading.Barrier(2, timeout=60)

    def client(who: int) -> None:
        try:
            for i in range(TIMES):
                together.wait()
                given[who, i] = make(who, i)
        except BaseException as failure:  # noqa: BLE001  raised again below, on the test's own thread
            failures.append(failure)
            together.abort()

    threads = [threading.Thread(target=client, args=(who,)) for who in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return given

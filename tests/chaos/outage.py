"""A minute without any server, while a job logs by the real mlflow. It goes by beside the other tests of this folder."""

from __future__ import annotations

import threading
import time

from tests.chaos.clients import PatientServer
from tests.support.zaffre_server import eventually

STEPS = 60
METRICS = f"""python -c "
import mlflow, time
for i in range({STEPS}):
    mlflow.log_metric('m', i / 4, step=i)
    print('step', i, flush=True)
    time.sleep(0.1)
"
"""


class Outage:
    """A job that logs by the real mlflow while its server is stopped, stays away for a minute, and comes back."""

    def __init__(self, server: PatientServer) -> None:
        self.server = server
        self._seconds = 0.0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self) -> float:
        """How long there was no server, once the job is over."""
        self._thread.join(400)
        if self._failure is not None:
            raise self._failure
        assert not self._thread.is_alive(), f"the job is still {self.server.status('metrics')}"
        return self._seconds

    def _run(self) -> None:
        try:
            self._live()
        except BaseException as failure:  # noqa: BLE001  raised again by `result`, on the test's own thread
            self._failure = failure

    def _live(self) -> None:
        server = self.server.up()
        conda = "dependencies: [{pip: ['mlflow-skinny==3.15.0']}]"
        environment = server.environment_version("mlflow", {"image": "python:3.11", "condaFile": conda})
        answer = server.put_job("metrics", METRICS, environmentId=environment)
        assert answer.status == 201, answer.body
        begun = ("Running", "Completed", "Failed")
        eventually(lambda: server.status("metrics"), lambda state: state in begun, seconds=180, what="the environment")
        eventually(lambda: server.job_log("metrics"), lambda log: "step 9\n" in log, seconds=60, what="ten metrics")
        assert server.down(cancel_jobs=False)["running_jobs"] == ["metrics"]
        gone = time.monotonic()
        threading.Event().wait(60)
        self._seconds = time.monotonic() - gone
        server.up()
        assert server.wait_for_job("metrics", seconds=180) == "Completed"

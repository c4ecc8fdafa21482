"""Run MLflow's tests against a Zaffre of this checkout: `python -m tests.yardstick.run MLFLOW_CHECKOUT [PYTHON] [pytest arguments]`.

MLFLOW_CHECKOUT is a folder with the repository's `mlflow` and `tests`; PYTHON is an interpreter that has mlflow's requirements
(`pip install mlflow pytest pytest-asyncio httpx psutil boto3 moto polars pillow matplotlib plotly`).
What left_out.csv names is not run, each with its reason.
With ZAFFRE_UPDATE_COVERAGE=1, results.csv keeps what came of each file, for docs/coverage.md. Exit code: pytest's.
"""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from tests.support.zaffre_server import ZaffreServer

HERE = Path(__file__).parent
LEFT_OUT = HERE / "left_out.csv"
RESULTS = HERE / "results.csv"
COLUMNS = ("file", "passed", "failed", "skipped")
FILES = (
    "tests/tracking/test_rest_tracking.py",
    "tests/tracking/test_model_registry.py",
    "tests/tracking/test_client.py",
    "tests/tracking/test_tracking.py",
    "tests/tracking/test_mlflow_artifacts.py",
    "tests/tracking/test_artifact_utils.py",
    "tests/tracking/_model_registry/test_model_registry_fluent.py",
    "tests/artifacts/test_artifacts.py",
    "tests/tracing/test_fluent.py",
    "tests/tracing/test_assessment.py",
    "tests/tracing/test_tracing_client.py",
    "tests/tracing/test_attachments_integration.py",
    "tests/tracking/test_log_figure.py",
    "tests/tracking/test_log_image.py",
    "tests/tracking/fluent/test_fluent.py",
    "tests/tracking/test_client_webhooks.py",
    "tests/store/model_registry/test_rest_store_webhooks.py",
    "tests/webhooks/test_e2e.py",
    "tests/store/tracking/sqlalchemy_store/test_sqlalchemy_store_query_trace_metrics.py",
    "tests/tracing/test_otel_logging.py",
    "tests/tracing/test_otel_loading.py",
    "tests/genai/scorers/test_scorer_CRUD.py",
    "tests/genai/scorers/test_builtin_scorers_registration.py",
)


def left_out() -> dict[str, str]:
    """test (`file::name`, whatever its parameters) → the reason."""
    with LEFT_OUT.open(newline="") as file:
        return {row["test"]: row["reason"] for row in csv.DictReader(file)}


def run(checkout: Path, python: str, arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="zaffre-yardstick-") as folder:
        # Where the tests of webhooks listen, and the host that others name but never reach.
        receiver = free_port()
        hosts = {"ZAFFRE_WEBHOOK_HOSTS": f"http://localhost:{receiver},example.com"}
        server = ZaffreServer(Path(folder) / "home", environment=hosts).up()
        try:
            environment = {
                **os.environ,
                **server.variables,
                "ZAFFRE_ADDRESS": server.address,
                "ZAFFRE_LEFT_OUT": "\n".join(left_out()),
                "ZAFFRE_RECEIVER_PORT": str(receiver),
                "OTEL_EXPORTER_OTLP_CERTIFICATE": server.variables["SSL_CERT_FILE"],
                "PYTHONPATH": os.pathsep.join((str(checkout), str(HERE))),
                "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            }
            del environment["MLFLOW_TRACKING_URI"]  # each test has its own
            chosen = [a for a in arguments if a.startswith("tests/")] or [f for f in FILES if (checkout / f).exists()]
            options = [a for a in arguments if not a.startswith("tests/")]
            report = Path(folder) / "report.xml"
            command = [python, "-m", "pytest", "-p", "pointed_at_us", "-p", "no:cacheprovider", "-q"]
            command += [f"--junitxml={report}", *options, *chosen]
            code = subprocess.run(command, cwd=checkout, env=environment, check=False).returncode
            if os.environ.get("ZAFFRE_UPDATE_COVERAGE"):
                record(report, checkout)
            return code
        finally:
            if os.environ.get("ZAFFRE_YARDSTICK_LOG"):
                Path(os.environ["ZAFFRE_YARDSTICK_LOG"]).write_text(server.log())
            server.destroy()


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as held:
        return int(held.getsockname()[1])


def record(report: Path, checkout: Path) -> None:
    """What the run says of its files takes the place of what results.csv said of them."""
    counts: dict[str, Counter[str]] = {}
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            counts = {row["file"]: Counter({c: int(row[c]) for c in COLUMNS[1:]}) for row in csv.DictReader(file)}
    fresh: dict[str, Counter[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        ended = {child.tag for child in case}
        name = _file(checkout, case.get("classname", ""))
        outcome = "failed" if ended & {"failure", "error"} else "skipped" if "skipped" in ended else "passed"
        fresh.setdefault(name, Counter())[outcome] += 1
    counts.update(fresh)
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((name, *(counts[name][c] for c in COLUMNS[1:])) for name in sorted(counts))


def _file(checkout: Path, dotted: str) -> str:
    """`tests.tracking.test_client.TestThis` → `tests/tracking/test_client.py`."""
    parts = dotted.split(".")
    while parts and not (checkout / ("/".join(parts) + ".py")).exists():
        parts.pop()
    return "/".join(parts) + ".py"


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    checkout, rest = Path(sys.argv[1]).resolve(), sys.argv[2:]
    python = rest.pop(0) if rest and Path(rest[0]).is_file() else sys.executable
    return run(checkout, python, rest)


if __name__ == "__main__":
    sys.exit(main())

"""Run MLflow's tests against a Zaffre of this checkout: `python -m tests.yardstick.run MLFLOW_CHECKOUT [PYTHON] [pytest arguments]`.

MLFLOW_CHECKOUT is a folder with the repository's `mlflow` and `tests`; PYTHON is an interpreter that has mlflow's requirements
(`pip install mlflow pytest pytest-asyncio httpx boto3 moto`). What left_out.csv names is not run, each with its reason.
Exit code: pytest's.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.zaffre_server import ZaffreServer

HERE = Path(__file__).parent
LEFT_OUT = HERE / "left_out.csv"
FILES = (
    "tests/tracking/test_rest_tracking.py",
    "tests/tracking/test_model_registry.py",
    "tests/tracking/test_client.py",
    "tests/tracking/test_client_webhooks.py",
    "tests/store/model_registry/test_rest_store_webhooks.py",
    "tests/tracing/test_otel_logging.py",
    "tests/tracing/test_otel_loading.py",
)


def left_out() -> dict[str, str]:
    """test (`file::name`, whatever its parameters) → the reason."""
    with LEFT_OUT.open(newline="") as file:
        return {row["test"]: row["reason"] for row in csv.DictReader(file)}


def run(checkout: Path, python: str, arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="zaffre-yardstick-") as folder:
        server = ZaffreServer(Path(folder) / "home").up()
        try:
            environment = {
                **os.environ,
                **server.variables,
                "ZAFFRE_ADDRESS": server.address,
                "OTEL_EXPORTER_OTLP_CERTIFICATE": server.variables["SSL_CERT_FILE"],
                "PYTHONPATH": os.pathsep.join((str(checkout), str(HERE))),
                "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            }
            del environment["MLFLOW_TRACKING_URI"]  # each test has its own
            chosen = [a for a in arguments if a.startswith("tests/")] or [f for f in FILES if (checkout / f).exists()]
            options = [a for a in arguments if not a.startswith("tests/")]
            for test in left_out():
                options += ["--deselect", test]
            command = [python, "-m", "pytest", "-p", "pointed_at_us", "-p", "no:cacheprovider", "-q", *options, *chosen]
            return subprocess.run(command, cwd=checkout, env=environment, check=False).returncode
        finally:
            if os.environ.get("ZAFFRE_YARDSTICK_LOG"):
                Path(os.environ["ZAFFRE_YARDSTICK_LOG"]).write_text(server.log())
            server.destroy()


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    checkout, rest = Path(sys.argv[1]).resolve(), sys.argv[2:]
    python = rest.pop(0) if rest and Path(rest[0]).is_file() else sys.executable
    return run(checkout, python, rest)


if __name__ == "__main__":
    sys.exit(main())

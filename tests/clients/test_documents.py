"""The code that the documents show runs, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.zaffre_server import ZaffreServer

TRACKING = Path(__file__).parents[2] / "docs" / "tracking.md"
_CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_code_of_the_tracking_page_runs(client_environment: ZaffreServer, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("\n\n".join(_CODE.findall(TRACKING.read_text())))
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-P", str(script)]
    variables = {**client_environment.variables, **quiet}
    done = subprocess.run(
        command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for words in ("ridge 0.1 ", "100 points of loss", "polite: 1.0", "2 traces were polite"):
        assert words in done.stdout, done.stdout

"""azureml-fsspec, `pandas.read_csv("azureml://…")` and mltable with their closed engine: outside and in a job.

They are not ours to depend on (clients.md §C), so they get an interpreter of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer

PACKAGES = ("azureml-fsspec", "mltable", "pandas<3", "azure-ai-ml")  # the last signs it in outside of a job
SCRIPT = Path(__file__).parent / "scripts" / "fsspec_use.py"
ENGINE_S = 180.0
"""The engine repeats what fails in silence, so a fault of ours looks like a hang."""


@pytest.fixture(scope="session")
def assets(ml: Any, client_environment: ZaffreServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Data assets, and a datastore that is a folder of the server's machine."""
    from azure.ai.ml.entities import AzureBlobDatastore, Data

    disk = client_environment.data_folder / "fsspec"
    (disk / "deep").mkdir(parents=True)
    (disk / "deep" / "f.csv").write_text("t\n9\n")
    ml.datastores.create_or_update(
        AzureBlobDatastore(name="fsspec_folder", account_name="local", container_name=str(disk), protocol="file")
    )

    folder = tmp_path_factory.mktemp("assets")
    (folder / "file.csv").write_text("p,q\n5,6\n")
    (folder / "table").mkdir()
    (folder / "table" / "rows.csv").write_text("r;s\n7;8\n")
    (folder / "table" / "MLTable").write_text(
        "paths:\n  - file: ./rows.csv\ntransformations:\n  - read_delimited:\n      delimiter: ';'\n"
    )
    ml.data.create_or_update(Data(name="fsspec_file", version="1", type="uri_file", path=str(folder / "file.csv")))
    ml.data.create_or_update(Data(name="fsspec_table", version="1", type="mltable", path=str(folder / "table")))


def address(server: ZaffreServer) -> str:
    names = server.credentials
    return (
        f"azureml://subscriptions/{names['subscription']}/resourcegroups/{names['resource_group']}"
        f"/workspaces/{names['workspace']}"
    )


def check(text: str, folder: str) -> None:
    line = next((line for line in text.splitlines() if line.startswith("SEEN ")), None)
    assert line is not None, text[-3000:]
    rows = {"a": [1, 2], "b": ["one", "zwölf"]}
    assert json.loads(line.removeprefix("SEEN ")) == {
        "downloaded": True,
        "opened": "a,b\n1,one\n2,zwölf\n",
        "ls": [f"{folder}/up/new.csv"],
        "glob": [f"{folder}/up/new.csv"],
        "exists": [True, False],
        "size": 19,
        "pandas": rows,
        "pandas asset": {"p": [5], "q": [6]},
        "mltable": rows,
        "mltable filter": ["zwölf"],
        "pandas folder": {"t": [9]},
        "mltable asset": {"r": [7], "s": [8]},
    }


@pytest.fixture(scope="session")
def job_log(ml: Any, client_environment: ZaffreServer, assets: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the script printed as a job, in an environment by conda file."""
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    server, folder = client_environment, tmp_path_factory.mktemp("job")
    (folder / "code").mkdir()
    shutil.copy(SCRIPT, folder / "code" / "use.py")
    wanted = "".join(f"      - {package}\n" for package in PACKAGES)
    (folder / "conda.yml").write_text(f"name: f\ndependencies:\n  - python=3.11\n  - pip:\n{wanted}")
    image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
    job = ml.jobs.create_or_update(
        command(
            command=f"python use.py {address(server)} fsspec/job",
            code=str(folder / "code"),
            environment=Environment(name="fsspec", image=image, conda_file=str(folder / "conda.yml")),
        )
    )
    assert server.wait_for_job(job.name, seconds=500) == "Completed", server.job_log(job.name)
    return server.job_log(job.name)


@pytest.mark.slow
def test_in_a_job(job_log: str) -> None:
    check(job_log, "fsspec/job")


@pytest.mark.slow
def test_outside_of_a_job(client_environment: ZaffreServer, job_log: str) -> None:
    """By the interpreter that the job used, with a user's variables in place of a job's."""
    server = client_environment
    python = next(line for line in job_log.splitlines() if line.startswith("PYTHON ")).removeprefix("PYTHON ")
    run = subprocess.run(
        [python, SCRIPT, address(server), "fsspec/outside"],
        env={**os.environ, **server.variables},
        capture_output=True,
        text=True,
        timeout=ENGINE_S,
        check=False,
    )
    check(run.stdout + run.stderr, "fsspec/outside")

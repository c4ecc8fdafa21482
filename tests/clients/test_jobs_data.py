"""What goes into a command job and what comes out: every type and mode of inputs and outputs, by the SDK."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer

STORE = "azureml://datastores/workspaceblobstore/paths"


@pytest.fixture(scope="module")
def made(ml: Any, bare: Any, client_environment: ZaffreServer) -> Any:
    """A finished job with an output of every type, some of them registered."""
    from azure.ai.ml import Output, command

    script = """set -e
echo 1,2 > ${{outputs.table}}/part.csv
printf 'type: mltable\\npaths:\\n  - file: ./part.csv\\n' > ${{outputs.table}}/MLTable
echo fine > ${{outputs.report}}
echo own > ${{outputs.own}}
echo weights > ${{outputs.model}}/weights.bin
printf 'flavors:\\n  python_function:\\n    loader_module: x\\n' > ${{outputs.flow}}/MLmodel
echo "$TARGET" > ${{outputs.plain}}/target.txt
echo "$AZURE_ML_OUTPUT_plain" >> ${{outputs.plain}}/target.txt
"""
    job = command(
        command=script,
        environment=bare,
        experiment_name="job-data",
        environment_variables={"TARGET": "${{outputs.plain}}"},
        outputs={
            "table": Output(type="mltable", name="made-table"),
            "report": Output(type="uri_file", mode="upload", name="made-report", version="7"),
            "own": Output(type="uri_file", path=f"{STORE}/own/${{{{name}}}}/kept.txt"),
            "model": Output(type="custom_model", name="made-model", description="a model"),
            "flow": Output(type="mlflow_model", name="made-flow"),
            "plain": Output(type="uri_folder", mode="rw_mount"),
            "direct": Output(type="uri_folder", mode="direct"),
        },
    )
    name = ml.jobs.create_or_update(job).name
    assert client_environment.wait_for_job(name) == "Completed", client_environment.job_log(name)
    return ml.jobs.get(name)


def test_outputs_become_assets(ml: Any, made: Any, client_environment: ZaffreServer) -> None:
    table = ml.data.get("made-table", label="latest")
    assert (table.version, table.type) == ("1", "mltable")
    assert table.path.endswith(f"/datastores/workspaceblobstore/paths/azureml/{made.name}/table/")
    report = ml.data.get("made-report", version="7")
    assert report.path.endswith(f"azureml/{made.name}/report/report")
    model = ml.models.get("made-model", label="latest")
    assert (model.type, model.description, model.job_name) == ("custom_model", "a model", made.name)
    flow = ml.models.get("made-flow", label="latest")
    assert (flow.type, list(flow.flavors)) == ("mlflow_model", ["python_function"])

    outputs = client_environment.job(made.name)["properties"]["outputs"]
    assert outputs["table"]["assetId"].endswith("/data/made-table/versions/1")
    assert outputs["flow"]["assetId"].endswith("/models/made-flow/versions/1")
    assert "assetId" not in outputs["plain"]
    told = client_environment.request("POST", f"/history/v1.0{client_environment.scope}/rundata", {"runId": made.name})
    assert told.json["runMetadata"]["outputs"]["table"] == {"assetId": outputs["table"]["assetId"], "type": "mltable"}
    assert told.json["runMetadata"]["outputs"]["flow"]["type"] == "uri_folder"


def test_every_output_is_downloaded(ml: Any, made: Any, tmp_path: Path) -> None:
    ml.jobs.download(made.name, download_path=str(tmp_path / "all"), all=True)
    found = {str(path.relative_to(tmp_path / "all")) for path in (tmp_path / "all").rglob("*") if path.is_file()}
    assert found >= {
        "named-outputs/table/MLTable",
        "named-outputs/table/part.csv",
        "named-outputs/report/report",
        "named-outputs/own/kept.txt",
        "named-outputs/model/weights.bin",
        "named-outputs/flow/MLmodel",
        "named-outputs/plain/target.txt",
        "artifacts/user_logs/std_log.txt",
    }
    target = (tmp_path / "all" / "named-outputs/plain/target.txt").read_text().split()
    assert target[0].rstrip("/") == target[1].rstrip("/")

    ml.jobs.download(made.name, download_path=str(tmp_path / "one"), output_name="model")
    assert (tmp_path / "one/named-outputs/model/weights.bin").read_text() == "weights\n"
    ml.jobs.download(made.name, download_path=str(tmp_path / "default"))
    assert (tmp_path / "default/artifacts/user_logs/std_log.txt").exists()
    assert not (tmp_path / "default/named-outputs").exists()


def test_inputs_of_every_kind_and_mode(
    ml: Any, made: Any, bare: Any, client_environment: ZaffreServer, tmp_path: Path
) -> None:
    from azure.ai.ml import Input, command

    local = tmp_path / "local.txt"
    local.write_text("local")
    account = client_environment.request("GET", f"{client_environment.scope}/datastores/workspaceblobstore")
    properties = account.json["properties"]
    container, host = properties["containerName"], properties["accountName"].rpartition("/")[2]
    report = f"azureml/{made.name}/report/report"
    script = """set -ex
test "$(cat ${{inputs.local}})" = local
test "$(cat ${{inputs.by_uri}})" = fine
test "$(cat ${{inputs.by_version}})" = fine
test "$(cat ${{inputs.by_label}}/part.csv)" = 1,2
test "$(cat ${{inputs.by_job}})" = fine
test "$(cat ${{inputs.by_wasbs}})" = fine
test "$(cat ${{inputs.by_abfss}})" = fine
test "$(cat ${{inputs.model}}/weights.bin)" = weights
test -f ${{inputs.flow}}/MLmodel
echo changed > ${{inputs.download}}/weights.bin
case "${{inputs.direct}}" in azureml://subscriptions/*/datastores/workspaceblobstore/paths/azureml/*/report/report) ;; *) exit 9;; esac
test "$AZURE_ML_INPUT_by_uri" = "${{inputs.by_uri}}"
test "$AZUREML_PARAMETER_number" = "${{inputs.number}}"
test "$SEEN" = "${{inputs.by_uri}}/0.5"
echo $[[--never ${{inputs.never}}]] $[[--number ${{inputs.number}}]]
(echo x > ${{inputs.by_uri}}) 2>/dev/null && test "$(id -u)" != 0 && exit 8
true
"""
    job = command(
        command=script,
        environment=bare,
        experiment_name="job-data",
        environment_variables={"SEEN": "${{inputs.by_uri}}/${{inputs.number}}"},
        inputs={
            "local": Input(type="uri_file", path=str(local)),
            "by_uri": Input(type="uri_file", path=f"{STORE}/{report}", mode="ro_mount"),
            "by_version": Input(type="uri_file", path="azureml:made-report:7"),
            "by_label": Input(type="mltable", path="azureml:made-table@latest"),
            "by_job": Input(type="uri_file", path=f"azureml://jobs/{made.name}/outputs/report"),
            "by_wasbs": Input(type="uri_file", path=f"wasbs://{container}@{host}.blob.core.windows.net/{report}"),
            "by_abfss": Input(type="uri_file", path=f"abfss://{container}@{host}.dfs.core.windows.net/{report}"),
            "model": Input(type="custom_model", path="azureml:made-model:1"),
            "flow": Input(type="mlflow_model", path=ml.models.get("made-flow", label="latest").id),
            "download": Input(type="custom_model", path="azureml:made-model:1", mode="download"),
            "direct": Input(type="uri_file", path="azureml:made-report:7", mode="direct"),
            "number": 0.5,
        },
    )
    name = ml.jobs.create_or_update(job).name
    assert client_environment.wait_for_job(name) == "Completed", client_environment.job_log(name)
    assert "--number 0.5" in client_environment.job_log(name)
    assert ml.jobs.get(name).inputs["by_uri"].mode == "ro_mount"
    run = client_environment.request("GET", f"/history/v1.0{client_environment.scope}/runs/{name}").json
    assert run["inputs"]["by_label"]["assetId"].endswith("/data/made-table/versions/1")
    assert run["inputs"]["model"] == {"assetId": ml.models.get("made-model", version="1").id, "type": "custom_model"}
    assert "by_uri" not in run["inputs"]
    ml.models.download("made-model", "1", download_path=str(tmp_path))
    kept = next(tmp_path.rglob("weights.bin"))
    assert kept.read_text() == "weights\n", "a job changed a version through its downloaded copy"


def test_a_table_is_evaluated_to_its_files(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import Input, Output, command

    server = client_environment
    script = """set -e; cd ${{outputs.table}}; mkdir -p data/deep
for name in a.csv b.csv c.txt deep/d.csv; do echo $name > data/$name; done
printf 'paths:\\n- pattern: ./data/**/*.csv\\n- file: data/c.txt\\ntransformations:\\n- skip: 1\\n- take: 3\\n' > MLTable
cd ${{outputs.records}}; printf 'paths:\\n- file: ../table/x\\ntransformations:\\n- read_delimited:\\n' > MLTable
"""
    outputs = {
        "table": Output(type="mltable", path=f"{STORE}/tables/${{{{name}}}}/table"),
        "records": Output(type="mltable", path=f"{STORE}/tables/${{{{name}}}}/records"),
    }
    first = ml.jobs.create_or_update(command(command=script, environment=bare, outputs=outputs)).name
    assert server.wait_for_job(first) == "Completed", server.job_log(first)

    def reading(table: str, mode: str) -> str:
        place = Input(type="mltable", path=f"{STORE}/tables/{first}/{table}/", mode=mode)
        look = command(command="cd ${{inputs.t}}; find . -type f | sort", environment=bare, inputs={"t": place})
        return str(ml.jobs.create_or_update(look).name)

    for mode in ("eval_mount", "eval_download"):
        name = reading("table", mode)
        assert server.wait_for_job(name) == "Completed"
        assert server.job_log(name).split() == ["./b.csv", "./c.txt", "./deep/d.csv"]
    name = reading("records", "eval_mount")
    assert server.wait_for_job(name) == "Failed"
    details = server.request("GET", f"/history/v1.0{server.scope}/runs/{name}/details").json
    assert "has the step 'read_delimited', which is for records" in details["error"]["error"]["message"]


def test_an_input_mounted_for_writing_is_written_back(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import Input, Output, command

    server = client_environment
    first = command(
        command="echo one > ${{outputs.place}}/one.txt; echo two > ${{outputs.place}}/two.txt",
        environment=bare,
        outputs={"place": Output(type="uri_folder", path=f"{STORE}/shared/place/")},
    )
    assert server.wait_for_job(ml.jobs.create_or_update(first).name) == "Completed"
    place = Input(type="uri_folder", path=f"{STORE}/shared/place/", mode="rw_mount")
    second = command(
        command="echo changed > ${{inputs.place}}/one.txt; echo new > ${{inputs.place}}/three.txt",
        environment=bare,
        inputs={"place": place},
    )
    assert server.wait_for_job(ml.jobs.create_or_update(second).name) == "Completed"
    third = command(
        command="cat ${{inputs.place}}/*.txt",
        environment=bare,
        inputs={"place": Input(type="uri_folder", path=f"{STORE}/shared/place")},
    )
    name = ml.jobs.create_or_update(third).name
    assert server.wait_for_job(name) == "Completed"
    assert server.job_log(name).split() == ["changed", "new", "two"]

    asset = Input(type="uri_file", path="azureml:made-report:7", mode="rw_mount")
    with pytest.raises(Exception, match="never changes"):
        ml.jobs.create_or_update(command(command="true", environment=bare, inputs={"x": asset}))


def test_an_upload_is_not_mounted_for_writing(ml: Any, bare: Any, tmp_path: Path) -> None:
    """It lies under the hash of its content, by which every client and every asset with that content finds it."""
    from azure.ai.ml import Input, command

    (tmp_path / "one.txt").write_text("as it was uploaded")
    local = Input(type="uri_folder", path=str(tmp_path), mode="rw_mount")
    job = command(command="echo changed > ${{inputs.x}}/one.txt", environment=bare, inputs={"x": local})
    with pytest.raises(Exception, match="never changes"):
        ml.jobs.create_or_update(job)


@pytest.fixture
def website(tmp_path: Path) -> Iterator[str]:
    """The address of a plain web server."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "data file.csv").write_text("from the web")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_input_from_the_web(ml: Any, bare: Any, client_environment: ZaffreServer, website: str) -> None:
    from azure.ai.ml import Input, command
    from azure.ai.ml.entities import Data

    server = client_environment
    ml.data.create_or_update(Data(name="web-data", version="1", type="uri_file", path=f"{website}/data%20file.csv"))
    job = command(
        command='cat "${{inputs.plain}}" "${{inputs.asset}}"; basename "${{inputs.plain}}"; echo ${{inputs.direct}}',
        environment=bare,
        inputs={
            "plain": Input(type="uri_file", path=f"{website}/data%20file.csv?sig=secret"),
            "asset": Input(type="uri_file", path="azureml:web-data:1"),
            "direct": Input(type="uri_file", path=f"{website}/other.csv", mode="direct"),
        },
    )
    name = ml.jobs.create_or_update(job).name
    assert server.wait_for_job(name) == "Completed", server.job_log(name)
    assert server.job_log(name) == f"from the webfrom the webdata file.csv\n{website}/other.csv\n"

    gone = Input(type="uri_file", path=f"{website}/gone.csv?sig=secret")
    name = ml.jobs.create_or_update(command(command="true", environment=bare, inputs={"x": gone})).name
    assert server.wait_for_job(name) == "Failed"
    details = server.request("GET", f"/history/v1.0{server.scope}/runs/{name}/details").json
    assert "gone.csv' answered 404" in details["error"]["error"]["message"]
    assert "secret" not in details["error"]["error"]["message"]
    with pytest.raises(Exception, match="one file"):
        folder = Input(type="uri_folder", path=website)
        ml.jobs.create_or_update(command(command="true", environment=bare, inputs={"x": folder}))


@pytest.mark.parametrize(
    ("command_line", "type_", "message"),
    [
        ("true", "uri_folder", "the job wrote nothing into it"),
        ("touch ${{outputs.x}}/MLtable", "mlflow_model", "holds no file 'MLmodel'"),
    ],
)
def test_an_output_that_cannot_be_registered_fails_the_job(
    ml: Any, bare: Any, client_environment: ZaffreServer, command_line: str, type_: str, message: str
) -> None:
    from azure.ai.ml import Output, command

    job = command(command=command_line, environment=bare, outputs={"x": Output(type=type_, name="never-made")})
    name = ml.jobs.create_or_update(job).name
    assert client_environment.wait_for_job(name) == "Failed"
    details = client_environment.request("GET", f"/history/v1.0{client_environment.scope}/runs/{name}/details").json
    assert message in details["error"]["error"]["message"]
    for assets in (ml.data, ml.models):
        with pytest.raises(Exception, match="never-made"):
            assets.get("never-made", version="1")


def test_a_version_that_is_taken_is_refused_at_the_door(ml: Any, made: Any, bare: Any) -> None:
    from azure.ai.ml import Output, command

    job = command(
        command="true",
        environment=bare,
        outputs={"x": Output(type="uri_file", name="made-report", version="7")},
    )
    with pytest.raises(Exception, match="made-report"):
        ml.jobs.create_or_update(job)


def test_an_input_that_is_not_there_is_named_as_the_user_wrote_it(server: ZaffreServer) -> None:
    address = "azureml://datastores/workspaceblobstore/paths/nowhere/nope.csv"
    given = {"table": {"jobInputType": "uri_file", "uri": address}}
    assert server.put_job("input-nowhere", "cat ${{inputs.table}}", inputs=given).status == 201
    assert server.wait_for_job("input-nowhere") == "Failed"
    error = server.request("GET", f"/history/v1.0{server.scope}/runs/input-nowhere/details").json["error"]
    assert f"There is nothing at '{address}', where input 'table' should lie." in str(error)

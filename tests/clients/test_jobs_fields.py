"""What else a command job can say: resources, identity, queue, services, properties; kept, spelled and shown as Azure does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer


@pytest.fixture(scope="module")
def full(ml: Any, bare: Any, client_environment: ZaffreServer) -> Any:
    """A finished job that uses every field the SDK has for one."""
    from azure.ai.ml import UserIdentityConfiguration, command
    from azure.ai.ml.entities import JupyterLabJobService, SshJobService, TensorBoardJobService, VsCodeJobService

    job = command(
        command="echo $MODE; env | sort > outputs/env.txt",
        environment=bare,
        experiment_name="job-fields",
        display_name="every field",
        description="says everything",
        tags={"team": "blue", "number": 1},
        instance_count=1,
        instance_type="Standard_DS3_v2",
        shm_size="2g",
        docker_args="--ulimit memlock=-1",
        timeout=600,
        identity=UserIdentityConfiguration(),
        environment_variables={"MODE": "quiet"},
        services={
            "lab": JupyterLabJobService(),
            "code": VsCodeJobService(),
            "board": TensorBoardJobService(log_dir="outputs/tblogs"),
            "shell": SshJobService(ssh_public_keys="ssh-ed25519 AAAA someone"),
        },
    )
    job.properties = {"purpose": "test"}
    job.set_queue_settings(job_tier="standard", priority="high")
    name = ml.jobs.create_or_update(job).name
    assert client_environment.wait_for_job(name) == "Completed"
    return ml.jobs.get(name)


def test_every_field_comes_back(full: Any, client_environment: ZaffreServer) -> None:
    assert (full.display_name, full.description, full.experiment_name) == (
        "every field",
        "says everything",
        "job-fields",
    )
    assert full.tags == {"team": "blue", "number": "1"}
    assert full.properties["purpose"] == "test"
    assert full.resources.instance_count == 1
    assert (full.resources.instance_type, full.resources.shm_size) == ("Standard_DS3_v2", "2g")
    assert full.resources.docker_args == "--ulimit memlock=-1"
    assert full.limits.timeout == 600
    assert type(full.identity).__name__ == "UserIdentityConfiguration"
    assert (full.queue_settings.job_tier, full.queue_settings.priority) == ("standard", "high")
    assert full.environment_variables == {"MODE": "quiet"}
    properties = client_environment.job(full.name)["properties"]
    assert properties["limits"] == {"jobLimitsType": "Command", "timeout": "PT10M"}
    assert properties["queueSettings"] == {"jobTier": "Standard", "priority": 3}
    assert properties["services"]["lab"]["jobServiceType"] == "JupyterLab"


def test_services_inside_a_job_are_told_to_be_unavailable(ml: Any, full: Any) -> None:
    shown = ml.jobs.show_services(full.name)
    assert {name: service.status for name, service in shown.items()} == dict.fromkeys(
        ("lab", "code", "board", "shell"), "NotAvailable"
    )
    assert "starts no TensorBoard" in shown["board"].error
    assert shown["board"].properties == {"logDir": "outputs/tblogs"}
    assert ml.jobs.show_services(full.name, node_index=1) is None
    assert full.services["lab"].status == "NotAvailable"
    assert full.services["shell"].ssh_public_keys == "ssh-ed25519 AAAA someone"


def test_compute_local_runs_on_the_server(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import command

    job = ml.jobs.create_or_update(command(command="echo here", environment=bare, compute="local"))
    assert job.compute == "local"
    assert client_environment.wait_for_job(job.name) == "Completed"
    assert client_environment.job_log(job.name) == "here\n"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("aml_token", "AmlTokenConfiguration"), ("managed_identity", "ManagedIdentityConfiguration")],
)
def test_jobs_from_yaml_with_an_identity(
    ml: Any, client_environment: ZaffreServer, tmp_path: Path, kind: str, expected: str
) -> None:
    """`az ml job create -f` reads YAML by the SDK's own loader."""
    from azure.ai.ml import load_job

    (tmp_path / "job.yml").write_text(
        f"""$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
command: echo ${{{{inputs.word}}}} > ${{{{outputs.place}}}}/word.txt
environment: {{image: "python:3.11"}}
inputs: {{word: hello}}
outputs: {{place: {{type: uri_folder, mode: upload}}}}
identity: {{type: {kind}}}
resources: {{instance_count: 1}}
queue_settings: {{job_tier: Spot}}
"""
    )
    job = ml.jobs.create_or_update(load_job(tmp_path / "job.yml"))
    assert client_environment.wait_for_job(job.name) == "Completed"
    fetched = ml.jobs.get(job.name)
    assert type(fetched.identity).__name__ == expected
    assert fetched.queue_settings.job_tier == "spot"
    ml.jobs.download(job.name, download_path=str(tmp_path), output_name="place")
    assert (tmp_path / "named-outputs/place/word.txt").read_text() == "hello\n"


def test_git_properties_of_the_folder_it_was_submitted_from(
    ml: Any, bare: Any, client_environment: ZaffreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    from azure.ai.ml import command

    def git(*arguments: str) -> str:
        names = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q", "-b", "trunk")
    git("remote", "add", "origin", "https://example.org/team/code.git")
    git("commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.chdir(tmp_path)
    job = ml.jobs.create_or_update(command(command="true", environment=bare))
    assert job.properties["mlflow.source.git.branch"] == "trunk"
    assert job.properties["mlflow.source.git.commit"] == git("rev-parse", "HEAD").strip()
    assert job.properties["mlflow.source.git.repoURL"] == "https://example.org/team/code.git"


def test_validate_and_what_is_not_served(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import MpiDistribution, command

    fine = command(command="true", environment=bare)
    assert ml.jobs.validate(fine).passed
    with pytest.raises(Exception, match="Inputs to job does not contain 'x'"):
        ml.jobs.create_or_update(command(command="echo ${{inputs.x}}", environment=bare))
    several = command(command="true", environment=bare, instance_count=2)
    with pytest.raises(Exception, match="more than one node are not served yet"):
        ml.jobs.create_or_update(several)
    spread = command(command="true", environment=bare, distribution=MpiDistribution(process_count_per_instance=2))
    with pytest.raises(Exception, match="Distributed jobs are not served yet"):
        ml.jobs.create_or_update(spread)


def test_a_fetched_job_is_changed_and_submitted_again(ml: Any, full: Any, client_environment: ZaffreServer) -> None:
    """With its id the SDK patches what describes it; under a new name it is another job."""
    if hasattr(ml.jobs, "update"):
        updated = ml.jobs.update(full.name, display_name="renamed", tags={"late": "yes"}, properties={"more": "so"})
    else:  # before 1.35 the SDK sends the whole job again
        fetched = ml.jobs.get(full.name)
        fetched.display_name = "renamed"
        fetched.tags["late"] = "yes"
        fetched.properties["more"] = "so"
        updated = ml.jobs.create_or_update(fetched)
    assert updated.display_name == "renamed"
    assert updated.tags == {"team": "blue", "number": "1", "late": "yes"}
    assert updated.properties["more"] == "so"
    assert updated.properties["purpose"] == "test"
    updated.description = "another"
    assert ml.jobs.create_or_update(updated).description == "another"

    again = ml.jobs.get(full.name)
    again.name = None
    again._id = None
    copy = ml.jobs.create_or_update(again)
    assert copy.name != full.name
    assert client_environment.wait_for_job(copy.name) == "Completed"
    assert ml.jobs.get(copy.name).command == full.command


def test_a_registered_component_runs_as_a_job(ml: Any, client_environment: ZaffreServer, tmp_path: Path) -> None:
    from azure.ai.ml import load_component

    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "say.py").write_text("import sys\nprint('said', sys.argv[1:])\n")
    (tmp_path / "component.yml").write_text(
        """name: say_it
version: "1"
type: command
inputs:
  word: {type: string, default: hello}
  times: {type: integer, optional: true}
code: ./src
environment: {image: "python:3.11"}
command: python say.py ${{inputs.word}} $[[--times ${{inputs.times}}]]
"""
    )
    ml.components.create_or_update(load_component(tmp_path / "component.yml"))
    component = ml.components.get("say_it", version="1")
    long, short = component(word="twice", times=2), component(word="once")
    for node, said in ((long, ["twice", "--times", "2"]), (short, ["once"])):
        node.environment = component.environment  # the SDK takes it from the node alone
        job = ml.jobs.create_or_update(node)
        assert client_environment.wait_for_job(job.name) == "Completed", client_environment.job_log(job.name)
        assert client_environment.job_log(job.name) == f"said {said}\n"

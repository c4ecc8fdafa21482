"""How clients address artifacts: each form leads back to the place it was made from, and none out of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaffre.errors import InvalidInput
from zaffre.services.artifact_uris import (
    ARTIFACT_SCHEME,
    artifact_path,
    artifact_place,
    in_container,
    of_place,
    of_run,
    place_of,
)
from zaffre.services.places import Place
from zaffre.services.workspaces import ARTIFACT_CONTAINER, Workspace

WORKSPACE = Workspace(id="0" * 8 + "-1", subscription="s", resource_group="g", name="w", location="l")
PART = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda part: part not in (".", "..", "_containers")
)
CONTAINER = st.sampled_from([ARTIFACT_CONTAINER, WORKSPACE.container, "code-1"])


@settings(max_examples=200, deadline=None)
@given(CONTAINER, st.lists(PART, min_size=1, max_size=6))
def test_a_place_told_is_found_again(container: str, parts: list[str]) -> None:
    place = Place(account=WORKSPACE.account, container=container, path="/".join(parts))
    assert artifact_place(WORKSPACE, artifact_path(place)) == place
    assert place_of(WORKSPACE, of_place(place)) == place


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12), st.lists(PART, max_size=4))
def test_a_runs_artifacts_are_below_the_run(experiment: str, parts: list[str]) -> None:
    uri = of_run("localhost:8443", WORKSPACE, (experiment, "17"), "r1")
    assert uri.split("/runs/")[0].rpartition("/")[2] in (experiment, "17")
    found = place_of(WORKSPACE, "/".join([uri, *parts]))
    assert found is not None and found.path == "/".join(["ExperimentRun/dcid.r1", *parts])


def test_the_run_of_another_workspace_is_none_of_ours() -> None:
    other = Workspace(id="2", subscription="s", resource_group="g", name="other", location="l")
    assert place_of(WORKSPACE, of_run("h", other, ("e", "1"), "r1")) is None
    assert place_of(WORKSPACE, of_run("h", WORKSPACE, ("e", "1"), "r1").replace("/w/", "/W/")) is not None


@pytest.mark.parametrize(
    "uri", ["runs:/r/model", "azureml://datastores/d/paths/p", ARTIFACT_SCHEME + "x", "models:/m/1", ""]
)
def test_other_forms_are_left_to_others(uri: str) -> None:
    assert place_of(WORKSPACE, uri) is None


@pytest.mark.parametrize(
    ("origin", "container", "path"),
    [
        ("..", "x", ""),
        ("LocalUpload", "..", ""),
        ("LocalUpload", "a", "b/../../c"),
        ("_containers", "c%2F..%2Fazureml", "x"),
    ],
)
def test_nothing_climbs(origin: str, container: str, path: str) -> None:
    with pytest.raises(InvalidInput):
        in_container(WORKSPACE, origin, container, path)

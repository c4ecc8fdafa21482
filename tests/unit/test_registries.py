"""What names a curated environment, and what only looks like it."""

from __future__ import annotations

import pytest

from zaffre.errors import Denied, InvalidInput, NotFound, ZaffreError
from zaffre.services.registries import Curated, Registries, curated_reference, refuse_asset

HERE = Registries([Curated(name="sklearn-1.5", version="2", python="3.11", requirements=("scikit-learn~=1.5.0",))])
ARM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/environments/"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("AzureML-sklearn-1.5", "AzureML-sklearn-1.5"),
        ("AzureML-sklearn-1.5@latest", "AzureML-sklearn-1.5"),
        ("azureml:AzureML-sklearn-1.5:22", "AzureML-sklearn-1.5"),
        ("azureml://registries/azureml/environments/sklearn-1.5/versions/1", "sklearn-1.5"),
        ("azureml://registries/AzureML/environments/sklearn-1.5/labels/latest", "sklearn-1.5"),
        ("azureml:azureml://registries/azureml/environments/sklearn-1.5/versions/1", "sklearn-1.5"),
        (f"{ARM}AzureML-sklearn-1.5/versions/1", "AzureML-sklearn-1.5"),
        (f"azureml:{ARM}AzureML-sklearn-1.5/labels/latest", "AzureML-sklearn-1.5"),
        (f"{ARM}mine/versions/1", None),
        ("azureml:mine:1", None),
        ("mine@latest", None),
        ("azureml://datastores/d/paths/AzureML-x", None),
        ("", None),
    ],
)
def test_which_names_are_those_of_a_curated_environment(text: str, name: str | None) -> None:
    assert curated_reference(text, "f") == name


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("azureml://registries/mine/environments/x/versions/1", NotFound, "There is no registry 'mine'"),
        ("azureml://registries/azureml/models/x/versions/1", InvalidInput, "is no environment"),
        ("azureml://registries/azureml/pets/x/versions/1", NotFound, "A registry has no 'pets'"),
        ("AzureML-x:newest", NotFound, "has no version 'newest'"),
        ("AzureML-x:0", NotFound, "has no version '0'"),
        ("AzureML-x@stable", NotFound, "has no version 'stable'"),
        (f"{ARM}AzureML-x/versions/latest", NotFound, "has no version 'latest'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_field(text: str, error: type[ZaffreError], message: str) -> None:
    with pytest.raises(error) as raised:
        curated_reference(text, "properties.environmentId")
    assert message in raised.value.message and raised.value.target == "properties.environmentId"


def test_what_a_registry_holds() -> None:
    found, version = HERE.version("environments", "azureml-SKLEARN-1.5", "Latest")
    assert (found.name, version) == ("sklearn-1.5", "2")
    assert found.properties("22")["image"].endswith("/sklearn-1.5:22")
    assert found.properties("22")["properties"] == {"zaffre.recipe": "2"}
    assert HERE.all("models") == []
    with pytest.raises(NotFound, match="It has sklearn"):
        HERE.get("environments", "other")
    with pytest.raises(NotFound, match="It has no models"):
        HERE.get("models", "other")
    assert isinstance(HERE.refuse("azureml"), Denied)
    with pytest.raises(NotFound):
        HERE.refuse("other")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("azureml://registries/azureml/data/x/versions/1", NotFound, "there are no data in the registry"),
        ("azureml://registries/other/data/x/versions/1", NotFound, "There is no registry 'other'"),
        ("azureml://registries/azureml/environments/x/versions/1", InvalidInput, "is an environment"),
    ],
)
def test_data_and_models_of_registries(text: str, error: type[ZaffreError], message: str) -> None:
    with pytest.raises(error, match=message):
        refuse_asset(text, "f")
    refuse_asset("azureml:x:1", "f")

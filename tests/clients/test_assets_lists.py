"""Lists of assets as Azure answers them: views, filters, order, pages; archive and restore; labels; what a PUT may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.zaffre_server import ZaffreServer

ARM = "api-version=2023-08-01-preview"
PATHS = "azureml://datastores/workspaceblobstore/paths/lists"


@pytest.fixture(scope="module")
def models(ml: Any) -> list[str]:
    """Five versions of one model: `n` is a tag of each, the even ones are tagged so, the last is in production."""
    from azure.ai.ml.entities import Model

    made = []
    for number in range(5):
        tags = {"n": str(number), **({"even": ""} if number % 2 == 0 else {})}
        stage = "production" if number == 4 else None
        properties = {"source": "tests"} if number < 2 else {}
        model = Model(
            name="listed", path=f"{PATHS}/{number}", type="custom_model", tags=tags, stage=stage, properties=properties
        )
        made.append(ml.models.create_or_update(model).version)
    return made


def names(server: ZaffreServer, path: str, query: str = "") -> list[str]:
    """Names a list answers, page after page."""
    found, link = [], f"{server.scope}/{path}?{ARM}&{query}"
    while link:
        answer = server.request("GET", link)
        assert answer.status == 200, answer.body
        found += [one["name"] for one in answer.json["value"]]
        link = answer.json.get("nextLink", "").removeprefix(server.address)
    return found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "54321"),
        ("$orderBy=createdtime asc", "12345"),
        ("$orderBy=createdtime desc&$top=1", "5"),
        ("$top=2", "54"),
        ("offset=3", "21"),
        ("tags=even", "531"),
        ("tags=even,n=2", "3"),
        ("tags=n=2", "3"),
        ("tags=none", ""),
        ("properties=source=tests", "21"),
        ("properties=source", "21"),
        ("stage=Production", "5"),
        ("version=2", "2"),
        ("listViewType=All", "54321"),
        ("listViewType=ArchivedOnly", ""),
        ("count=2", "54321"),
        ("count=2&$orderBy=name", "12345"),
        ("count=2&tags=even", "531"),
        ("count=1&orderBy=UpdatedAtAsc", "12345"),
    ],
)
def test_filters_and_orders(server: ZaffreServer, models: list[str], query: str, expected: str) -> None:
    assert "".join(names(server, "models/listed/versions", quote(query, safe="=&$"))) == expected


@pytest.mark.parametrize("query", ["tags==x", "$orderBy=weight", "listViewType=Odd", "$skip=no", "$top=-1", "offset=a"])
def test_what_is_not_understood_is_refused(server: ZaffreServer, models: list[str], query: str) -> None:
    answer = server.request("GET", f"{server.scope}/models/listed/versions?{ARM}&{query}")
    assert answer.status == 400 and query.partition("=")[0] in answer.json["error"]["message"]


def test_the_sdk_lists_by_stage_and_view(ml: Any, models: list[str]) -> None:
    assert [model.version for model in ml.models.list("listed", stage="Production")] == ["5"]
    ml.models.archive("listed", version="5")
    assert ml.models.get("listed", label="latest").version == "4"
    assert ml.models.get("listed", "5").stage == "Production", "archived is no stage"
    assert [model.version for model in ml.models.list("listed", list_view_type="ArchivedOnly")] == ["5"]
    ml.models.restore("listed", label="latest")
    ml.models.restore("listed", version="5")
    assert ml.models.get("listed", label="latest").version == "5"
    ml.models.archive("listed")
    assert "listed" not in [model.name for model in ml.models.list()]
    assert "listed" in [model.name for model in ml.models.list(list_view_type="All")]
    ml.models.restore("listed")
    found = next(model for model in ml.models.list() if model.name == "listed")
    assert found.latest_version == "5"


def test_a_version_changes_in_what_describes_it_only(ml: Any) -> None:
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import ResourceExistsError

    first = ml.models.create_or_update(Model(name="changed", version="1", path=f"{PATHS}/a", type="custom_model"))
    about: Any = {"description": "told", "tags": {"a": "b"}, "stage": "Development"}
    told = Model(name="changed", version="1", path=first.path, type="custom_model", **about)
    again = ml.models.create_or_update(told)
    assert (again.description, again.tags, again.stage) == ("told", {"a": "b"}, "Development")
    assert again.creation_context.created_at == first.creation_context.created_at
    assert again.creation_context.last_modified_at > first.creation_context.last_modified_at
    with pytest.raises(ResourceExistsError, match="other content"):
        ml.models.create_or_update(Model(name="changed", version="1", path=f"{PATHS}/b", type="custom_model"))


def test_every_kind_archives_and_labels_alike(ml: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Data, Environment
    from azure.core.exceptions import ResourceNotFoundError

    for number in ("3.10", "3.11"):
        ml.data.create_or_update(Data(name="alike", path=f"{PATHS}/{number}.csv", type="uri_file"))
        ml.environments.create_or_update(Environment(name="alike", image=f"python:{number}"))
    for operations in (ml.data, ml.environments):
        assert operations.get("alike", label="latest").version == "2"
        operations.archive("alike", label="latest")
        assert operations.get("alike", label="latest").version == "1"
        assert [one.version for one in operations.list("alike", list_view_type="All")] == ["2", "1"]
        operations.restore("alike", version="2")
        operations.archive("alike")
        assert "alike" not in [one.name for one in operations.list()]
        operations.restore("alike")
        with pytest.raises(ResourceNotFoundError, match="no version '7'"):
            operations.get("alike", "7")
    assert next(one for one in ml.data.list() if one.name == "alike").type == "uri_file"


def test_who_made_it_and_when(ml: Any) -> None:
    from azure.ai.ml.entities import Data

    made = ml.data.create_or_update(Data(name="dated", path=f"{PATHS}/x", type="uri_folder"))
    context = made.creation_context
    assert context.created_by and context.created_by_type in ("User", "Application")
    assert context.created_at == context.last_modified_at and context.last_modified_by == context.created_by

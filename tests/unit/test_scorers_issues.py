"""What scorers and issues need of both databases: versions given once, whoever registers at once; pages; and nothing left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from tests.support.databases import Clock, database, postgres_url
from zaffre.errors import InvalidInput, NotFound, NotServed
from zaffre.runtime import Runtime
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.issues import NewIssue
from zaffre.services.tracking.scorers import number
from zaffre.services.tracking.traces import NewTrace
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.tracking.issues import Issue
from zaffre.store.tracking.scorers import ScorerVersion
from zaffre.store.tracking.traces import Assessment
from zaffre.store.unit import Actor

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")
T = TypeVar("T")


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def tracking(database: Database) -> Tracking:
    """Two workspaces, "s" and "elsewhere", each with its experiment "0"."""
    made = Tracking(database)
    for scope in ("s", "elsewhere"):
        do(made.experiments.by_name(scope, "Default"))
    return made


def judge(model: str | None = None) -> str:
    return json.dumps({"name": "j", "instructions_judge_pydantic_data": {"instructions": "?", "model": model}})


def register(tracking: Tracking, name: str, serialized: str | None = None, scope: str = "s") -> ScorerVersion:
    return do(tracking.scorers.register(ME, scope, "0", name, serialized or judge()))


def numbers(tracking: Tracking, name: str) -> list[int]:
    return [one.version for one in do(tracking.scorers.versions("s", "0", name))]


# ---- scorers
def test_many_at_once_never_get_the_same_version(tracking: Tracking) -> None:
    async def go() -> list[ScorerVersion]:
        works = (tracking.scorers.register(ME, "s", "0", name, judge()) for name in ("a", "b") * 12)
        return await asyncio.gather(*works)

    made = do(go())
    assert len({one.id for one in made}) == 2
    for name in ("a", "b"):
        assert sorted(one.version for one in made if one.name == name) == list(range(1, 13))
        assert numbers(tracking, name) == list(range(1, 13))
    assert [(one.name, one.version) for one in do(tracking.scorers.newest("s", "0"))] == [("a", 12), ("b", 12)]


def test_two_servers_never_give_the_same_version(postgres_url: str) -> None:
    first, second = (Database(postgres_url, Runtime()) for _ in range(2))
    try:
        tables.metadata.create_all(first.engine)
        both = [Tracking(first), Tracking(second)]
        do(both[0].experiments.by_name("s", "Default"))

        async def go() -> list[ScorerVersion]:
            adds = [one.scorers.register(ME, "s", "0", "a", judge()) for _ in range(15) for one in both]
            # A scorer that goes in between begins anew, whichever of the two sees it first.
            gone = [one.scorers.delete(ME, "s", "0", "a", None) for one in both]
            made = await asyncio.gather(*adds[:15], gone[0], *adds[15:], gone[1], return_exceptions=True)
            assert all(one is None or isinstance(one, (ScorerVersion, NotFound)) for one in made), made
            return [one for one in made if isinstance(one, ScorerVersion)]

        made = do(go())
        assert len(made) == 30 and len({(one.id, one.version) for one in made}) == 30
        # Each of the scorers there were counted from 1 without a gap.
        for id_ in {one.id for one in made}:
            given = sorted(one.version for one in made if one.id == id_)
            assert given == list(range(1, len(given) + 1))
    finally:
        first.close()
        second.close()


def test_versions_go_one_by_one_and_with_the_last_the_scorer(tracking: Tracking) -> None:
    first = register(tracking, "a")
    assert register(tracking, "a", judge("openai:/m")).id == first.id
    do(tracking.scorers.set_online(ME, "s", "0", "a", 0.0, None))
    with pytest.raises(NotFound, match="'a' and version 3 not found"):
        do(tracking.scorers.delete(ME, "s", "0", "a", 3))
    do(tracking.scorers.delete(ME, "s", "0", "a", 1))
    assert numbers(tracking, "a") == [2]
    assert do(tracking.scorers.get("s", "0", "a", None)).serialized == judge("openai:/m")
    assert len(do(tracking.scorers.online("s", [first.id]))) == 1
    do(tracking.scorers.delete(ME, "s", "0", "a", 2))
    assert do(tracking.scorers.online("s", [first.id])) == do(tracking.scorers.newest("s", "0")) == []
    for work in (
        tracking.scorers.versions("s", "0", "a"),
        tracking.scorers.get("s", "0", "a", None),
        tracking.scorers.delete(ME, "s", "0", "a", None),
    ):
        with pytest.raises(NotFound, match="Scorer with name 'a' not found for experiment 0"):
            do(work)
    again = register(tracking, "a")
    assert again.version == 1 and again.id != first.id
    do(tracking.scorers.delete(ME, "s", "0", "a", None))
    assert _count(tracking, tables.scorers) == _count(tracking, tables.scorer_versions) == 0


@pytest.mark.parametrize(
    ("name", "serialized", "words"),
    [
        (" \t", judge(), "empty or contain only whitespace"),
        ("n" * 257, judge(), "at most 256"),
        ("a", "{", "valid JSON"),
        ("a", "[" * 100_000, "valid JSON"),
        ("a", '["x"]', "JSON object"),
        ("a", '{"call_source": "return 1"}', "Custom scorer registration"),
        ("a", '{"memory_augmented_judge_data": {"base_judge": {"call_source": ""}}}', "Custom scorer registration"),
        ("a", '{"judges": [{"call_source": "return 1"}]}', "Custom scorer registration"),
        ("a", '{"instructions_judge_pydantic_data": {"model": 5}}', "model must be a string, got int"),
        ("a", '{"builtin_scorer_pydantic_data": {"model": " "}}', "model cannot be empty"),
        ("a", '{"memory_augmented_judge_data": {"base_judge": {"third_party_scorer_data": {"model": " "}}}}', "empty"),
        ("a", '{"instructions_judge_pydantic_data": "x"}', "JSON object"),
        ("a", '{"memory_augmented_judge_data": {"base_judge": 5}}', "JSON object"),
    ],
)
def test_what_is_no_scorer(tracking: Tracking, name: str, serialized: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        register(tracking, name, serialized)
    assert _count(tracking, tables.scorers) == 0


def test_what_nobody_here_would_run_is_not_taken(tracking: Tracking) -> None:
    inner = json.loads(judge("gateway:/e"))
    for serialized in (judge("gateway:/e"), json.dumps({"memory_augmented_judge_data": {"base_judge": inner}})):
        with pytest.raises(NotFound, match=r"GatewayEndpoint not found \(name='e'\)"):
            register(tracking, "a", serialized)
    made = register(tracking, "a", '{"call_source": null, "instructions_judge_pydantic_data": {"model": null}}')
    first = do(tracking.scorers.set_online(ME, "s", "0", "a", 0.0, "status = 'OK'"))
    assert first.scorer_id == made.id
    for rate in (0.01, 1.0):
        with pytest.raises(NotServed, match="no judges by itself"):
            do(tracking.scorers.set_online(ME, "s", "0", "a", rate, None))
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidInput, match=r"between 0\.0 and 1\.0"):
            do(tracking.scorers.set_online(ME, "s", "0", "a", rate, None))
    with pytest.raises(InvalidInput, match="filter"):
        do(tracking.scorers.set_online(ME, "s", "0", "a", 0.0, "status is fine"))
    with pytest.raises(NotFound, match="'b' not found"):
        do(tracking.scorers.set_online(ME, "s", "0", "b", 1.0, None))
    assert do(tracking.scorers.online("s", ["none", made.id, made.id])) == [first]
    second = do(tracking.scorers.set_online(ME, "s", "0", "a", 0.0, None))
    assert second.id != first.id
    assert do(tracking.scorers.online("s", [made.id])) == [second]


def test_another_workspace_or_experiment_has_scorers_of_its_own(tracking: Tracking) -> None:
    mine = register(tracking, "a")
    other = do(tracking.experiments.create(ME, "s", "other", None, {})).id
    assert register(tracking, "a", scope="elsewhere").version == 1
    assert do(tracking.scorers.register(ME, "s", other, "a", judge())).version == 1
    do(tracking.scorers.delete(ME, "elsewhere", "0", "a", None))
    do(tracking.scorers.set_online(ME, "s", "0", "a", 0.0, None))
    assert do(tracking.scorers.online("elsewhere", [mine.id])) == []
    assert do(tracking.scorers.newest("s", "0")) == [mine]
    theirs = do(tracking.scorers.get("s", other, "a", None))
    assert number(mine) == 0 and number(theirs) < 0
    assert do(tracking.scorers.experiment_id("s", str(number(theirs)))) == other
    for scope, given in (
        ("elsewhere", str(number(theirs))),
        ("s", "-0"),
        ("s", "-99"),
        ("s", other),
        ("s", "-" + "9" * 99),
    ):
        assert do(tracking.scorers.experiment_id(scope, given)) == given
    do(tracking.experiments.set_lifecycle(ME, "s", "0", "deleted"))
    for work in (
        tracking.scorers.newest("s", "0"),
        tracking.scorers.register(ME, "s", "0", "a", judge()),
        tracking.scorers.delete(ME, "s", "0", "a", None),
    ):
        with pytest.raises(InvalidInput, match="active"):
            do(work)


# ---- issues
def create(tracking: Tracking, name: str, **more: Any) -> Issue:
    scope = more.pop("scope", "s")
    return do(tracking.issues.create(ME, scope, NewIssue(experiment_id="0", name=name, description="d", **more)))


def search(tracking: Tracking, filter_: str | None = None, experiment: str | None = None, **more: Any) -> list[Issue]:
    """All pages, of two each."""
    found: list[Issue] = []
    token = None
    while token is not None or not found:
        page, token = do(tracking.issues.search("s", experiment, filter_, token, 2, counted=more.get("counted", False)))
        assert len(page) <= 2
        found += page
        if not page:
            break
    return found


def names(found: list[Issue]) -> list[str]:
    return [one.name for one in found]


def show(tracking: Tracking, trace: str, *issues: Issue, scope: str = "s") -> None:
    """A trace in which those issues were found; the same one twice counts once."""
    told = [
        Assessment(
            id=f"{trace}-{number}",
            name=one.id,
            kind="issue",
            value=None,
            json=None,
            number=None,
            valid=True,
            body={},
            created_at=1,
            modified_at=1,
        )
        for number, one in enumerate((*issues, *issues[:1]))
    ]
    new = NewTrace(id=trace, experiment_id="0", state="OK", requested_at=1, assessments=told)
    do(tracking.traces.start(ME, scope, new))


def test_the_gravest_come_first_then_those_of_most_traces_then_the_newest(tracking: Tracking) -> None:
    clock = Clock()
    tracking.runtime.now = clock.now  # type: ignore[method-assign]
    made: dict[str, Issue] = {}
    graveness = {
        "none": None,
        "no": "not_an_issue",
        "low": "low",
        "high 1": "high",
        "high 2": "high",
        "medium": "medium",
    }
    for name, severity in graveness.items():
        clock.time += 1
        made[name] = create(tracking, name, severity=severity)
    for one in ("x", "y"):  # of one moment
        made[one] = create(tracking, one)
    last = sorted("xy", key=lambda one: made[one].id, reverse=True)
    assert names(search(tracking)) == ["high 2", "high 1", "medium", "low", "no", *last, "none"]
    show(tracking, "t1", made["high 1"], made["low"])
    show(tracking, "t2", made["high 1"])
    show(tracking, "t3", made["high 2"])
    show(tracking, "t4", made["high 2"], made["none"], scope="elsewhere")
    found = search(tracking, counted=True)
    assert names(found) == ["high 1", "high 2", "medium", "low", "no", *last, "none"]
    assert {one.name: one.traces for one in found if one.traces} == {"high 1": 2, "high 2": 1, "low": 1}
    assert {one.traces for one in search(tracking)} == {None}


def test_what_issues_are_searched_by(tracking: Tracking) -> None:
    other = do(tracking.experiments.create(ME, "s", "other", None, {})).id
    for run in ("r1", "r2"):
        _run(tracking, run)
    create(tracking, "a", source_run_id="r1")
    create(tracking, "b", source_run_id="r2", status="resolved")
    create(tracking, "c", status="rejected")
    create(tracking, "elsewhere", scope="elsewhere")
    do(tracking.issues.create(ME, "s", NewIssue(experiment_id=other, name="o", description="d")))
    for filter_, experiment, wanted in (
        (None, None, "abco"),
        (None, "0", "abc"),
        (None, other, "o"),
        (None, "none", ""),
        ("status = 'pending'", None, "ao"),
        ("status != 'pending'", None, "bc"),
        ("source_run_id = 'r1'", None, "a"),
        ("source_run_id != 'r1'", None, "b"),
        ("source_run_id = 'r2' AND status = \"resolved\"", "0", "b"),
        ("status = 'pending' AND source_run_id = 'r2'", None, ""),
    ):
        assert "".join(sorted(names(search(tracking, filter_, experiment)))) == wanted, (filter_, experiment)
    for wrong in ("name = 'a'", "status > 'a'", "status = pending", "tags.a = 'b'", "status = 'a' OR status = 'b'"):
        with pytest.raises(InvalidInput, match="filter"):
            search(tracking, wrong)


def test_a_token_belongs_to_its_search(tracking: Tracking) -> None:
    for name in "abc":
        create(tracking, name)
    _, token = do(tracking.issues.search("s", None, None, None, 2, counted=False))
    for counted, wrong in ((True, token), (False, "none")):
        with pytest.raises(InvalidInput, match="page_token"):
            do(tracking.issues.search("s", None, None, wrong, 2, counted=counted))


def test_issues_change_and_outlast_the_run_that_found_them(tracking: Tracking) -> None:
    clock = Clock()
    tracking.runtime.now = clock.now  # type: ignore[method-assign]
    _run(tracking, "r")
    made = create(tracking, "a", source_run_id="r", root_causes=["x", "y"], categories=["c"], created_by="me")
    assert (made.source_run_id, made.root_causes, made.categories, made.created_by) == ("r", ["x", "y"], ["c"], "me")
    assert made.created_at == made.modified_at == clock.time and made.severity is None
    clock.time += 5
    nothing: dict[str, Any] = dict.fromkeys(("name", "description", "status", "severity"))
    changed = do(tracking.issues.update(ME, "s", made.id, **{**nothing, "status": "rejected", "severity": "low"}))
    assert (changed.status, changed.severity, changed.name, changed.description) == ("rejected", "low", "a", "d")
    assert changed.modified_at == clock.time > changed.created_at
    for wrong in ({"status": "done"}, {"severity": ""}, {"name": "n" * 251}):
        with pytest.raises(InvalidInput):
            do(tracking.issues.update(ME, "s", made.id, **{**nothing, **wrong}))
    for scope, id_ in (("elsewhere", made.id), ("s", "iss-none")):
        with pytest.raises(NotFound, match=f"Issue with ID '{id_}' not found"):
            do(tracking.issues.update(ME, scope, id_, **nothing))
        with pytest.raises(NotFound):
            do(tracking.issues.get(scope, id_))
    _write(tracking, sa.delete(tables.runs))
    assert do(tracking.issues.get("s", made.id)).source_run_id is None
    for wrong in ({"source_run_id": "r"}, {"experiment_id": "none"}):
        new = NewIssue(**{"experiment_id": "0", "name": "n", "description": "d", **wrong})
        with pytest.raises(NotFound):
            do(tracking.issues.create(ME, "s", new))
    assert names(search(tracking)) == ["a"]


def _run(tracking: Tracking, id_: str) -> None:
    def work(unit: Any) -> None:
        experiment = tracking.experiments.named(unit, "s", "0").pk
        tracking.create_run(unit, "s", id_, experiment, origin="mlflow", status="Running", display_name="r", user="me")

    do(tracking.issues._database.write(work))


def _write(tracking: Tracking, statement: Any) -> None:
    do(tracking.issues._database.write(lambda unit: unit.conn.execute(statement) and None))


def _count(tracking: Tracking, table: sa.Table) -> int:
    database = tracking.scorers._database
    return database.read_now(lambda conn: conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

"""MLflow's search language: what is understood, and what the complaint about the rest names."""

from __future__ import annotations

import pytest

from zaffre.errors import InvalidInput, NotServed
from zaffre.services.tracking import filters, paging
from zaffre.store.tracking.conditions import Condition, Order, holds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, []),
        ("  ", []),
        ("metrics.acc > 0.9", [Condition("metric", "acc", ">", 0.9)]),
        ("metric.`val acc`>=-1e-3", [Condition("metric", "val acc", ">=", -0.001)]),
        ('metrics."a.b" < 5', [Condition("metric", "a.b", "<", 5)]),
        ("params.lr = '0.1' AND tags.x != \"y\"", [Condition("param", "lr", "=", "0.1"), Condition("tag", "x", "!=", "y")]),
        ("tags.mlflow.parentRunId = 'a and b'", [Condition("tag", "mlflow.parentRunId", "=", "a and b")]),
        ("tags.`k` ilike '%X%' and params.p LIKE '_'", [Condition("tag", "k", "ILIKE", "%X%"), Condition("param", "p", "LIKE", "_")]),
        ("attributes.run_id IN ('a', \"b\")", [Condition("attribute", "run_id", "IN", ("a", "b"))]),
        ("run_id not in ('a')", [Condition("attribute", "run_id", "NOT IN", ("a",))]),
        ("attr.`Run name` = 'x'", [Condition("attribute", "run_name", "=", "x")]),
        ("created > 1700000000000", [Condition("attribute", "start_time", ">", 1_700_000_000_000)]),
        ("params.p IS NULL and tags.t is not null", [Condition("param", "p", "IS NULL", None), Condition("tag", "t", "IS NOT NULL", None)]),
        ("params.order = 'ordinary'", [Condition("param", "order", "=", "ordinary")]),
    ],
)  # fmt: skip
def test_filters(text: str | None, expected: list[Condition]) -> None:
    assert filters.parse(text, filters.RUNS) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("metrics.a > 'x'", "is a number"),
        ("metrics.a LIKE '1'", "cannot be compared by LIKE"),
        ("params.a = 1", "put quotes around 1"),
        ("params.a > '1'", "cannot be compared by >"),
        ("nonsense = 'x'", "'nonsense' is not one of"),
        ("metrics.a > 1 OR metrics.a < 0", "only with AND"),
        ("metrics.a > 1 AND", "only with AND"),
        ("metrics.a", "not followed by a comparison"),
        ("metrics.a >", "can't be compared with nothing"),
        ("metrics. > 1", "cannot be searched here"),
        ("params.a IN ('x')", "attributes that are texts"),
        ("run_id IN ('x'", "not closed"),
        ("run_id IN 'x'", "in parentheses"),
        ("status IS NULL", "only be asked of params and tags"),
        ("params.a = 'x", "was not understood"),
        ("= 'x'", "expected the name"),
        ("metrics.a > 1 metrics.b > 1", "only with AND"),
    ],
)
def test_complaints(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as raised:
        filters.parse(text, filters.RUNS)
    assert raised.value.target == "filter"


def test_datasets_are_refused_honestly() -> None:
    with pytest.raises(NotServed, match="datasets"):
        filters.parse("datasets.name = 'x'", filters.RUNS)


def test_orders() -> None:
    found = filters.parse_order(["metrics.`a b` DESC", "start_time", "params.p asc"], filters.RUNS)
    assert found == [Order("metric", "a b", True), Order("attribute", "start_time"), Order("param", "p")]
    for wrong in ("", "whatever DESC"):
        with pytest.raises(InvalidInput) as raised:
            filters.parse_order([wrong], filters.RUNS)
        assert raised.value.target == "order_by"


def test_absent_values_satisfy_nothing_and_sort_last() -> None:
    assert not holds(Condition("tag", "t", "!=", "x"), None)
    assert holds(Condition("tag", "t", "IS NULL", None), None)
    rows = [3, None, 1, 2]
    order = [Order("attribute", "name", descending=True)]
    assert filters.select(rows, [], order, lambda row, _entity, _key: row) == [3, 2, 1, None]


def test_pages_go_on_behind_a_row_though_others_come_and_go() -> None:
    first, token = paging.page(["a", "b", "c", "d"], str, None, 2)
    assert (first, paging.page(["new", "a", "b", "c", "d"], str, token, 2)[0]) == (["a", "b"], ["c", "d"])
    assert paging.page(["a", "c", "d"], str, token, 2) == (["d"], None)
    for wrong in ("x", "W10=", "IiI=", "é"):
        with pytest.raises(InvalidInput, match="page_token"):
            paging.page(["a"], str, wrong, 2)

"""MLflow's search language: what is understood, and what the complaint about the rest names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaffre.errors import InvalidInput
from zaffre.services.tracking import filters, paging
from zaffre.store.tracking.conditions import Condition, Order, holds, like


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
        ("metrics.a > 'x'", "Expected numeric value type for metric"),
        ("metrics.a = metrics.b", "Expected numeric value type for metric"),
        ("metrics.a LIKE '1'", "Invalid comparator 'LIKE'"),
        ("metrics.a ~ 1", "Invalid comparator '~'"),
        ("metrics.a == 1", "Invalid comparator '=='"),
        ("params.a = 1", "Expected a quoted string value for param 'a'"),
        ("params.a = LR", "either not quoted or unidentified quote types"),
        ("params.a = `LR`", "either not quoted or unidentified quote types"),
        ("params.a > '1'", "Invalid comparator '>'"),
        ("start_time LIKE '1'", "Invalid comparator 'LIKE'"),
        ("status = 1", "Expected a quoted string value for attributes"),
        ("nonsense = 'x'", "Invalid attribute key 'nonsense'"),
        ("attribute.experiment_id = 'x'", "Invalid attribute key 'experiment_id'"),
        ("m.acc > 1", "Invalid entity type 'm'"),
        ("dataset.profile = 'x'", "Invalid dataset key 'profile'"),
        ("dataset.name > 'x'", "Invalid comparator '>'"),
        ("metrics.a > 1 OR metrics.a < 0", "Invalid clause.s. in filter string: 'OR'"),
        ("metrics.a > 1 AND (metrics.a < 0)", "found '\\('"),
        ("metrics.a > 1 AND", "Invalid clause.s. in filter string: 'AND'"),
        ("metrics.a > 1; metrics.b > 1", "multiple expression"),
        ("metrics.a", "not followed by a comparison"),
        ("metrics.a >", "Found nothing"),
        ("metrics. > 1", "names no metric"),
        ("params.a IN ('x')", "Invalid comparator 'IN'"),
        ("run_id IN ('x'", "not closed"),
        ("run_id IN 'x'", "in parentheses"),
        ("run_id IN ()", "Expected a quoted string value"),
        ("status IS NULL", "only supported for tags and params"),
        ("params.a = 'x", "was not understood"),
        ("`metrics.a > 1", "was not understood"),
        ("= 'x'", "Expected 'Identifier' found '='"),
        ("1.0 > metrics.a", "Expected 'Identifier' found '1.0'"),
        ("metrics.a > 1 metrics.b > 1", "Invalid clause.s. in filter string: 'metrics.b'"),
        (" AND ".join(["metrics.a > 1"] * 101), "at most 100"),
        (f"params.a LIKE '{'%' * 10_001}'", "longer than 10000"),
    ],
)
def test_complaints(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as raised:
        filters.parse(text, filters.RUNS)
    assert raised.value.target == "filter"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("datasets.name = 'x'", Condition("dataset", "name", "=", "x")),
        ("dataset.`digest` not in ('a', 'b')", Condition("dataset", "digest", "NOT IN", ("a", "b"))),
        ('metrics."X//Y#$$@&Z" = 3', Condition("metric", "X//Y#$$@&Z", "=", 3)),
        ("`params`.'a b' = \"L'Hosp\"", Condition("param", "a b", "=", "L'Hosp")),
        ("params.a = 'L''Hosp'", Condition("param", "a", "=", "L'Hosp")),
        ("attribute.artifact_uri = '1/23/4'", Condition("attribute", "artifact_uri", "=", "1/23/4")),
        ("metrics.a > 99999999999999999999", Condition("metric", "a", ">", 1e20)),
    ],
)
def test_quotes_and_datasets(text: str, expected: Condition) -> None:
    assert filters.parse(text, filters.RUNS) == [expected]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="amp.`'\"=<>!~(),; 1-eINLKANDOUS%_", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for grammar in (filters.RUNS, filters.EXPERIMENTS):
        try:
            filters.parse(text, grammar)
        except InvalidInput as error:
            assert error.target == "filter"


def test_orders() -> None:
    found = filters.parse_order(["metrics.`a b` DESC", "start_time", "params.p asc"], filters.RUNS)
    assert found == [Order("metric", "a b", True), Order("attribute", "start_time"), Order("param", "p")]
    for wrong in ("", "whatever DESC", "datasets.name"):
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


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("", "", True), ("", "a", False), ("%", "", True), ("a%", "ab", True), ("%b", "ab", True), ("a%a", "a", False),
        ("a_c", "abc", True), ("_", "", False), ("%_%", "x", True), ("%a_c%d", "xxabcyd", True), ("%a_c%d", "xxabyd", False),
        ("a%b%b", "ab", False), ("a.c", "abc", False), ("A%", "ab", False), ("%a" * 30 + "b", "a" * 5000, False),
    ],
)  # fmt: skip
def test_like(pattern: str, text: str, fits: bool) -> None:
    assert like(pattern, text, ignore_case=False) is fits
    assert like(pattern.upper(), text, ignore_case=True) is (fits or pattern == "A%")

"""The run history's `$filter`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaffre.errors import InvalidInput
from zaffre.services.run_filters import parse
from zaffre.store.tracking.records import Run, RunHead


def a_run(**more: Any) -> Run:
    values = dict.fromkeys(RunHead.__struct_fields__, None) | {
        "pk": 1, "id": "r1", "origin": "mlflow", "status": "Failed", "display_name": "it's", "hidden": False,
        "properties": {"azureml.runsource": "x"}, "created_at": 1_700_000_000_000, **more,
    }  # fmt: skip
    return Run(head=RunHead(**values), tags={"a b": "1", "k": "v"}, params={}, metrics=[], links=[])


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("status eq 'failed'", True),
        ("status ne 'Failed'", False),
        ("(Status eq 'Completed') or (RunId eq 'r1')", True),
        ("runtype eq 'mlflow.run' and not (hidden eq true)", True),
        ("displayName eq 'it''s'", True),
        ("tags/k eq 'v' and properties/azureml.runsource eq 'x'", True),
        ("tags/none eq null", True),
        ("tags/none gt 'a'", False),
        ("createdUtc ge '2023-11-14T00:00:00Z' and createdUtc lt '2023-11-15T00:00:00Z'", True),
        ("endTimeUtc lt '2030-01-01'", False),
        ("status eq 'x' and status eq 'x' or runid eq 'r1'", True),
        ("status eq 'x' and (status eq 'x' or runid eq 'r1')", False),
        ("  ", True),
    ],
)
def test_what_a_filter_asks_for(text: str, holds: bool) -> None:
    assert parse(text)(a_run()) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("status", "it ends where a comparison"),
        ("status eq", "it ends where a value"),
        ("status is 'x'", "'is' is not one of eq"),
        ("colour eq 'x'", "there is no field 'colour'"),
        ("status eq Failed", "single quotes"),
        ("status eq 'x' 'y'", "nothing was expected at ''y''"),
        ("(status eq 'x'", "')' was expected"),
        ("status eq 'x", "cannot be read at ''x'"),
        ("not " * 50 + "status eq 'x'", "nested too deeply"),
        ("(" * 50 + "status eq 'x'" + ")" * 50, "nested too deeply"),
        ("runid eq '" + "x" * 5000 + "'", "characters long"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse(text)
    assert message in raised.value.message and raised.value.target == "$filter"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="astu' ()eqnot/0.1\n", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        wanted = parse(text)
    except InvalidInput:
        return
    assert wanted(a_run()) in (True, False)

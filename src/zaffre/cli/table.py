"""Lists as people read them: columns, or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click


def show(rows: Iterable[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print `rows`; of each, the `columns`."""
    rows = list(rows)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    cells = [[_title(column) for column in columns], *([_text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _title(column: str) -> str:
    """`createdAt` as `CREATED`."""
    return column.removesuffix("At").upper()


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return text[:19] + "Z" if text.endswith("Z") and text[10:11] == "T" else text

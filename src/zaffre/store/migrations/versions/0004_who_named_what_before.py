"""who named what before links were kept: found in the documents of the rows there are"""

import json
import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

_VERSION = re.compile(
    r"/workspaces/[^/]+/(data|models|environments|components|codes)/([^/]+)/versions/([^/]+)", re.IGNORECASE
)
_UPLOAD = re.compile(r"/(?:LocalUpload/([^/]+)|(code-[0-9a-f]{32}))(?=/|$)")
_STORE = re.compile(r".*/datastores/workspaceblobstore/paths(?:/LocalUpload)?/?")
_BATCH = 500


def upgrade() -> None:
    conn = op.get_bind()
    resources, jobs, links = (sa.table(name, *map(sa.column, columns)) for name, columns in (
        ("resources", ("pk", "scope", "type", "parent", "name_key", "body")),
        ("jobs", ("run", "scope", "id", "body")),
        ("links", ("scope", "subject_type", "subject", "direction", "role", "target")),
    ))
    known = {tuple(row) for row in conn.execute(sa.select(links))}
    for table, key in ((resources, resources.c.pk), (jobs, jobs.c.run)):
        last = -1
        while True:
            rows = conn.execute(sa.select(table).where(key > last).order_by(key).limit(_BATCH)).mappings().all()
            if not rows:
                break
            last = rows[-1][key.name]
            found = {link for row in rows for link in _links(row, table is jobs)} - known
            if found:
                names = [column.name for column in links.c]
                conn.execute(sa.insert(links), [dict(zip(names, link, strict=True)) for link in sorted(found)])


def _links(row: sa.RowMapping, is_job: bool) -> Iterator[tuple[str, ...]]:
    if is_job:
        type_, subject = "workspaces/jobs", row["id"]
    else:
        type_ = row["type"]
        subject = f"{row['parent']}/{row['name_key']}" if row["parent"] else row["name_key"]
    for role, text in _texts(json.loads(row["body"]).get("properties"), ""):
        if match := _UPLOAD.search(text):
            yield row["scope"], type_, subject, "used", role, f"upload/{match[1] or match[2]}"
        elif _STORE.fullmatch(text):
            yield row["scope"], type_, subject, "used", role, "upload/*"
        if match := _VERSION.search(text):
            yield row["scope"], type_, subject, "used", role, "/".join(part.lower() for part in match.groups())


def _texts(value: Any, role: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield role[:200], value
    elif isinstance(value, dict):
        own_names = role.rpartition(".")[2] in ("inputs", "outputs", "jobs")
        for name, inner in value.items():
            if own_names or name not in ("tags", "properties", "description", "displayName", "services", "condaFile", "command"):
                yield from _texts(inner, f"{role}.{name}" if role else name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{role}.{number}")

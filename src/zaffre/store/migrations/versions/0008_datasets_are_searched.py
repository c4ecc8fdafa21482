"""What runs read is searched by the name, digest and context of a dataset, so these are columns"""

import json

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0005'
branch_labels = None
depends_on = None

_BATCH = 500
_CONTEXT = "mlflow.data.context"


def upgrade() -> None:
    for name in ("name", "digest", "context"):
        op.add_column("run_links", sa.Column(name, sa.Text(), nullable=True))
    conn = op.get_bind()
    links = sa.table("run_links", *map(sa.column, ("run", "direction", "kind", "target", "detail", "name", "digest", "context")))
    key = (links.c.run, links.c.direction, links.c.kind, links.c.target)
    last: tuple[object, ...] = (-1, "", "", "")
    while True:
        rows = conn.execute(
            sa.select(*key, links.c.detail)
            .where(links.c.kind == "dataset", sa.tuple_(*key) > sa.tuple_(*last))
            .order_by(*key)
            .limit(_BATCH)
        ).all()
        if not rows:
            break
        last = tuple(rows[-1][:4])
        for row in rows:
            detail = json.loads(row.detail)
            contexts = [tag.get("value", "") for tag in detail.get("tags", ()) if tag.get("key") == _CONTEXT]
            conn.execute(
                sa.update(links)
                .where(*(column == value for column, value in zip(key, row[:4], strict=True)))
                .values(
                    name=detail["dataset"]["name"],
                    digest=detail["dataset"]["digest"],
                    context=contexts[0] if contexts else None,
                )
            )

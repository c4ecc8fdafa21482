"""An order by a metric begins at its index; a series knows its lowest and highest value"""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("latest_metrics", sa.Column("experiment", key, nullable=False, server_default="0"))
    # What is not known of a series that there was is looked for when somebody asks: finding it here would read every point.
    for name, type_ in (("low", sa.Double()), ("low_step", sa.BigInteger()), ("high", sa.Double()), ("high_step", sa.BigInteger())):
        op.add_column("latest_metrics", sa.Column(name, type_, nullable=True))
    op.execute("UPDATE latest_metrics SET experiment = (SELECT experiment FROM runs WHERE runs.pk = latest_metrics.run)")
    op.create_index("ix_latest_metrics_value", "latest_metrics", ["experiment", "key", "is_nan", "value", "run"])
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("latest_metrics", "experiment", server_default=None)

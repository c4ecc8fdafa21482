"""The name of what a resource lies below, as it is told: capitals were lost of the names of assets' versions"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("resources", sa.Column("parent_name", sa.Text(), nullable=False, server_default=""))
    op.execute("UPDATE resources SET parent_name = parent WHERE parent <> ''")
    found = op.get_bind().execute(sa.text("SELECT DISTINCT type FROM resources WHERE parent <> ''")).scalars().all()
    for type_ in found:
        op.get_bind().execute(
            sa.text(
                "UPDATE resources SET parent_name = COALESCE((SELECT above.name FROM resources AS above "
                "WHERE above.scope = resources.scope AND above.type = :above AND above.parent = '' "
                "AND above.name_key = resources.parent), resources.parent) WHERE type = :type AND parent <> ''"
            ),
            {"type": type_, "above": type_.rpartition("/")[0]},
        )

"""Write the next Alembic revision from the difference between the migrations and `store/tables.py`.

    python scripts/make_migration.py "what changes and why"

Read what it wrote before you commit it, and raise HEAD in `store/migrations/__init__.py`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

MIGRATIONS = Path(__file__).parent.parent / "src" / "zaffre" / "store" / "migrations"


def main(message: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    known = [revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()]
    with tempfile.TemporaryDirectory() as folder:
        engine = sa.create_engine(f"sqlite:///{folder}/new.db")
        with engine.connect() as conn:
            config.attributes["connection"] = conn
            if known:
                command.upgrade(config, "head")
            newest = int(max(known, default="0"))
            command.revision(config, message, autogenerate=True, rev_id=f"{newest + 1:04d}")


if __name__ == "__main__":
    main(sys.argv[1])

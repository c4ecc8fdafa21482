"""Alembic's revisions. `HEAD` is the newest one; a test holds it against the files, so that start-up need not ask Alembic."""

HEAD = "0020"

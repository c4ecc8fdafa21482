"""What every file of tables begins with: the one set they all belong to, and the types of keys and times."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Time = sa.BigInteger()


def pk() -> sa.Column[int]:
    return sa.Column("pk", Key, primary_key=True, autoincrement=True)

"""Traces, their spans, and what is thought of them"""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('trace_runs',
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('run', sa.Text(), nullable=False),
    sa.Column('trace', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('scope', 'run', 'trace', name=op.f('pk_trace_runs'))
    )
    op.create_table('traces',
    sa.Column('pk', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('experiment', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('client_request_id', sa.Text(), nullable=True),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('requested_at', sa.BigInteger(), nullable=False),
    sa.Column('duration', sa.BigInteger(), nullable=True),
    sa.Column('request_preview', sa.Text(), nullable=True),
    sa.Column('response_preview', sa.Text(), nullable=True),
    sa.Column('finalized', sa.Boolean(), nullable=False),
    sa.ForeignKeyConstraint(['experiment'], ['experiments.pk'], name=op.f('fk_traces_experiment')),
    sa.PrimaryKeyConstraint('pk', name=op.f('pk_traces')),
    sa.UniqueConstraint('scope', 'id', name=op.f('uq_traces_scope_id'))
    )
    with op.batch_alter_table('traces', schema=None) as batch_op:
        batch_op.create_index('ix_traces_requested', ['experiment', 'requested_at', 'pk'], unique=False)

    op.create_table('assessments',
    sa.Column('pk', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('trace', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('value', sa.Text(), nullable=True),
    sa.Column('valid', sa.Boolean(), nullable=False),
    sa.Column('body', sa.Text(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('modified_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['trace'], ['traces.pk'], name=op.f('fk_assessments_trace'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('pk', name=op.f('pk_assessments')),
    sa.UniqueConstraint('trace', 'id', name=op.f('uq_assessments_trace_id'))
    )
    op.create_table('spans',
    sa.Column('trace', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('parent', sa.Text(), nullable=True),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('type', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('started_ns', sa.BigInteger(), nullable=False),
    sa.Column('ended_ns', sa.BigInteger(), nullable=True),
    sa.Column('content', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['trace'], ['traces.pk'], name=op.f('fk_spans_trace'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('trace', 'id', name=op.f('pk_spans'))
    )
    op.create_table('trace_labels',
    sa.Column('trace', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('value', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['trace'], ['traces.pk'], name=op.f('fk_trace_labels_trace'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('trace', 'kind', 'key', name=op.f('pk_trace_labels'))
    )

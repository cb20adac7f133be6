"""Where Alembic enters: the caller hands over its connection and commits."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()

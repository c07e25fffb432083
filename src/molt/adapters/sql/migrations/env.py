"""How Alembic runs the migrations: inside the transaction it is handed, which commits or not."""

from alembic import context

from molt.adapters.sql.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()

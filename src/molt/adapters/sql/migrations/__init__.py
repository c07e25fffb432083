"""Alembic's migrations, run by `molt.adapters.sql.database` when a store is opened.

To change the schema: change `schema.py`, add `versions/vNNNN_what.py` with the next revision, and
set `schema.REVISION` to it.
"""

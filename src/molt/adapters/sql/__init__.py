"""The store on SQL: SQLite now, PostgreSQL as a second dialect later. See `store.SqlStore`."""

"""The control plane: load, decide, append, act; the rollback procedure; ingest."""

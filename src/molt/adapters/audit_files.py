"""The audit log as a directory: `AUDIT_DIR/<writer>/<segments>`, one hash chain a writer.

Everything that others use, in one place: writing, proving, exporting, preserving.
"""

import hashlib

from molt.adapters.audit_export import (
    COLUMNS,
    AuditArchive,
    Entry,
    entries,
    export,
    export_lines,
    preserve,
    segments_between,
)
from molt.adapters.audit_retention import Retention, prove
from molt.adapters.audit_verify import Bad, HeadsFile, Report, verify
from molt.adapters.audit_writer import AuditWriter

__all__ = [
    "COLUMNS",
    "AuditArchive",
    "AuditWriter",
    "Bad",
    "Entry",
    "HeadsFile",
    "Report",
    "Retention",
    "SubjectHasher",
    "entries",
    "export",
    "export_lines",
    "preserve",
    "prove",
    "segments_between",
    "verify",
]


class SubjectHasher:
    """Keyed hashes of subject ids: the same id gives the same text, and none can be guessed back.

    `key` has 16 to 64 bytes; raises ValueError. Whoever loses the key can never link old records.
    """

    def __init__(self, key: bytes) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError(f"key: expected 16 to 64 bytes, got {len(key)}")
        self._keyed = hashlib.blake2b(key=key, digest_size=16)

    def __call__(self, subject: str) -> str:
        """32 hex digits."""
        state = self._keyed.copy()
        state.update(subject.encode("utf-8", "surrogatepass"))
        return state.hexdigest()

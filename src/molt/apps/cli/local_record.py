"""The record of what somebody does to the data directory itself, past the API: in the audit log, too."""

import os
import pwd
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

import typer

from molt.apps.cli.data_dir import AUDIT, with_store
from molt.core.errors import MoltError

WRITER: Final = "command-line"
PATIENCE_SECONDS: Final = 5.0


def local_person() -> str:
    """Who runs the command, as the machine knows them: `ann@host`."""
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return f"{name}@{socket.gethostname()}"


def put_on_record(folder: Path, act: str, by: str, reason: str, given: dict[str, str]) -> None:
    """Add a record of kind `access` to a chain of its own, and keep its head in the store.

    What was done stays done when it cannot be recorded; then that is said.
    """
    record: dict[str, Any] = {
        "at": None,
        "kind": "access",
        "act": act,
        "by": by,
        "role": "",
        "via": "data directory",
        "client": by.partition("@")[2],
        "user_agent": "molt token",
        "status": 200,
        "reason": reason,
        "given": {name: value for name, value in given.items() if value},
    }
    try:
        _write(folder, record)
    except (OSError, MoltError) as error:
        typer.echo(f"molt: done, but it is not in the audit log: {error}", err=True)


def _write(folder: Path, record: dict[str, Any]) -> None:
    from molt.adapters.audit_writer import AuditWriter
    from molt.adapters.clocks import SystemClock

    clock = SystemClock()
    deadline = time.monotonic() + PATIENCE_SECONDS
    writer = AuditWriter(folder / AUDIT, WRITER, clock)
    while writer.failed and time.monotonic() < deadline:  # another command writes there now
        time.sleep(0.1)
        writer = AuditWriter(folder / AUDIT, WRITER, clock)
    writer.append(record)
    writer.close()
    _give_to_owner(folder / AUDIT)
    head = writer.head()
    with_store(folder, lambda store: store.save_heads([head]))


def _give_to_owner(audit: Path) -> None:
    """What root has made there belongs to whoever Molt runs as, who must be able to read it."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    owner = audit.parent.stat()
    own = audit / WRITER
    for path in (audit, own, *own.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)

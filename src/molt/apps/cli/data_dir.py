"""Molt's data directory, read without a running Molt."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from molt.core.errors import OperatorError

if TYPE_CHECKING:
    from molt.adapters.sql.store import SqlStore

T = TypeVar("T")

DATABASE = "molt.db"
AUDIT = "audit"


def part(folder: Path, name: str) -> Path:
    """What Molt keeps under that name in its data directory; raises `OperatorError` if missing."""
    path = folder / name
    if not path.exists():
        raise OperatorError(
            f"{path}: no such file or directory. Start `molt serve` once, or name its data "
            "directory: --dir"
        )
    return path


def with_store(folder: Path, use: "Callable[[SqlStore], Awaitable[T]]") -> T:
    """What `use` gives for the store of a data directory; none is made where there is none."""
    path = part(folder, DATABASE)
    from molt.adapters.sql.store import SqlStore

    async def work() -> T:
        async with await SqlStore.open(path) as store:
            return await use(store)

    return asyncio.run(work())

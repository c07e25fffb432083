"""The flags snapshot, the heads of audit chains, and small settings: last values, no history."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import asdict

from molt.adapters.sql import statements as q
from molt.adapters.sql.database import Database, settled
from molt.adapters.sql.values import stale_flags
from molt.core.errors import StoreUnavailable
from molt.core.evidence import Head
from molt.core.flags import Flags


class Snapshots:
    """Last values by key."""

    _db: Database

    @settled
    async def load_flags(self) -> Flags | None:
        """The last snapshot published."""
        async with self._db.read() as connection:
            body = await connection.scalar(q.FLAGS)
        try:
            return None if body is None else msgspec.json.decode(body, type=Flags)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(
                f"The kept flags cannot be read ({error}). They were changed behind Molt's back or "
                "written by a newer version: restore a backup, or run the version that wrote them"
            ) from error

    @settled
    async def save_flags(self, flags: Flags) -> None:
        """Keep `flags`, or raise `VersionConflict` unless its version is higher than the kept one."""
        row = {"id": 1, "version": flags.version, "body": msgspec.json.encode(flags).decode()}
        async with self._db.write() as connection:
            kept = await connection.execute(self._db.upserts.keep_flags, row)
            if kept.rowcount != 1:
                version = await connection.scalar(q.FLAGS_VERSION)
                raise stale_flags(version or 0, flags)

    @settled
    async def save_heads(self, heads: Sequence[Head]) -> None:
        """Keep each head that is further than the kept one."""
        if heads:
            async with self._db.write() as connection:
                await connection.execute(
                    self._db.upserts.keep_head, [asdict(head) for head in heads]
                )

    @settled
    async def heads(self) -> Mapping[str, Head]:
        """The kept heads by writer."""
        async with self._db.read() as connection:
            return {row.writer: Head(*row) for row in await connection.execute(q.HEADS)}

    @settled
    async def setting(self, key: str) -> str | None:
        """The value of a setting; None when it was never set."""
        async with self._db.read() as connection:
            return await connection.scalar(q.SETTING, {"key": key})

    @settled
    async def set_setting(self, key: str, value: str) -> None:
        """Keep a setting, replacing its value."""
        async with self._db.write() as connection:
            await connection.execute(self._db.upserts.keep_setting, {"key": key, "value": value})

"""Flags as control sends them, and as they were last time: on disk, for a restart without it."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec
import structlog

from molt.core.flags import Flags
from molt.link.control_client import ControlClient, ControlUnreachable

log = structlog.get_logger(__name__)

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
TOUCH_SECONDS: Final = 10.0


class Kept(NamedTuple):
    """Flags from disk, and how many seconds ago control was last heard of."""

    flags: Flags
    age: float


class FlagFile:
    """The last flags, in one file; its time of change is when control was last heard of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._touched = float("-inf")

    def read(self) -> Kept | None:
        """What the file holds; None, with a log line, when there is nothing to trust."""
        try:
            flags = msgspec.json.decode(self._path.read_bytes(), type=Flags)
            age = time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("kept_flags_unreadable", path=str(self._path), error=str(error))
            return None
        # A file from the future has no age that could be trusted.
        return Kept(flags, age) if age >= 0 else None

    def write(self, flags: Flags) -> None:
        """Replace the file by `flags`, whole or not at all. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(flags))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def touch(self, now: float) -> None:
        """Note that control was heard, every 10 s; `now` is monotonic seconds. Raises OSError."""
        if now - self._touched >= TOUCH_SECONDS:
            self._touched = now
            os.utime(self._path)


class Decider(Protocol):
    """Who acts on flags."""

    @property
    def version(self) -> int:
        """The version acted on; 0 for none."""
        ...

    def apply(self, flags: Flags) -> None:
        """Decide by `flags` from now on."""
        ...

    def heard(self, at: float) -> None:
        """Control was heard at `at`, monotonic seconds."""
        ...


class FlagStream:
    """Follows control's flag stream, for ever.

    `tried` is called when an attempt has told something: a line, or that control is not there.
    `applied` is called when the decider acts on new flags.
    """

    def __init__(
        self,
        control: ControlClient,
        file: FlagFile,
        decider: Decider,
        *,
        tried: Callable[[], None],
        applied: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._control = control
        self._file = file
        self._decider = decider
        self._tried = tried
        self._applied = applied
        self._monotonic = monotonic
        self._behind = False

    def load(self) -> None:
        """Act on the kept flags; they are as old as their file."""
        if kept := self._file.read():
            self._decider.apply(kept.flags)
            self._decider.heard(self._monotonic() - kept.age)

    async def run(self) -> None:
        """Follow the stream; connect again whenever it breaks, after at most a second."""
        pause = FIRST_PAUSE
        while True:
            try:
                async for line in self._control.lines():
                    pause = FIRST_PAUSE
                    await self._take(line.flags, line.beat)
            except ControlUnreachable as error:
                self._tried()
                if pause == FIRST_PAUSE:
                    log.warning("control_unreachable", error=str(error))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _take(self, flags: Flags | None, beat: int | None) -> None:
        version = flags.version if flags is not None else beat or 0
        if self._is_behind(version):
            return
        news = flags is not None and version > self._decider.version
        if flags is not None and news:
            self._decider.apply(flags)
            self._applied()
        self._decider.heard(self._monotonic())
        self._tried()
        try:
            if flags is not None and news:
                await asyncio.to_thread(self._file.write, flags)
            elif self._decider.version:
                self._file.touch(self._monotonic())
        except OSError as error:
            log.error("flags_not_kept", error=str(error))

    def _is_behind(self, version: int) -> bool:
        """Whether control knows less than this gateway: then it does not count as heard.

        That is so when control has lost its store. Going on by flags that control does not know
        would leave the agent unwatched, so after their time to live the control arm answers.
        """
        behind = 0 < version < self._decider.version
        if behind and not self._behind:
            log.error("control_is_behind", control=version, here=self._decider.version)
        self._behind = behind
        return behind

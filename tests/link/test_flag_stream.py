"""Flags come from control, are kept on disk, and never go back."""

import os
import time
from pathlib import Path

import pytest

from molt.core.flags import Flags
from molt.link.control_client import ControlUnreachable, Line
from molt.link.flag_stream import FlagFile, FlagStream

from ..gateway.world import flags


class Decider:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.applied: list[int] = []
        self.heard_at: list[float] = []

    @property
    def version(self) -> int:
        return self.applied[-1] if self.applied else 0

    def apply(self, flags: Flags) -> None:
        self.applied.append(flags.version)

    def heard(self, at: float) -> None:
        self.heard_at.append(at)


class Stop(Exception):
    """The script is over."""


class Script:
    """A control whose streams are written down: each a list of lines, then it breaks."""

    def __init__(self, *streams: list[Line]) -> None:
        self._streams = iter(streams)

    async def lines(self):
        stream = next(self._streams, None)
        if stream is None:
            raise Stop
        for line in stream:
            yield line
        raise ControlUnreachable("broke")


async def followed(folder: Path, *streams: list[Line], decider: Decider | None = None) -> Decider:
    """What a decider was told, after all streams."""
    told = decider or Decider()
    following = FlagStream(
        Script(*streams),  # pyright: ignore[reportArgumentType]
        FlagFile(folder / "flags.json"),
        told,
        tried=lambda: None,
        applied=lambda: None,
        monotonic=lambda: 50.0,
    )
    with pytest.raises(Stop):
        await following.run()
    return told


async def test_only_a_higher_version_is_applied(tmp_path: Path):
    lines = [Line(flags=flags(v)) for v in (1, 3, 3, 2, 4)]
    assert (await followed(tmp_path, lines)).applied == [1, 3, 4]


async def test_after_a_break_it_goes_on(tmp_path: Path):
    told = await followed(tmp_path, [Line(flags=flags(1))], [], [Line(flags=flags(2))])
    assert told.applied == [1, 2]


async def test_every_line_is_hearing_from_control_unless_it_knows_less_than_we(tmp_path: Path):
    lines = [Line(flags=flags(2)), Line(beat=2), Line(beat=1), Line(flags=flags(1)), Line(beat=2)]
    assert len((await followed(tmp_path, lines)).heard_at) == 3


async def test_a_control_without_flags_is_there_all_the_same(tmp_path: Path):
    told = await followed(tmp_path, [Line(beat=0)])
    assert (told.applied, told.heard_at) == ([], [50.0])


async def test_flags_are_kept_and_are_as_old_as_control_was_last_heard(tmp_path: Path):
    await followed(tmp_path, [Line(flags=flags(7)), Line(beat=7)])
    path = tmp_path / "flags.json"
    long_ago = time.time() - 100
    os.utime(path, (long_ago, long_ago))
    kept = FlagFile(path).read()
    assert kept is not None
    assert kept.flags == flags(7)
    assert kept.age == pytest.approx(100, abs=5)


async def test_kept_flags_are_acted_on_with_their_age(tmp_path: Path):
    file = FlagFile(tmp_path / "flags.json")
    file.write(flags(7))
    long_ago = time.time() - 100
    os.utime(tmp_path / "flags.json", (long_ago, long_ago))
    told = Decider()
    stream = FlagStream(
        Script(), file, told, tried=lambda: None, applied=lambda: None, monotonic=lambda: 500.0
    )  # pyright: ignore[reportArgumentType]
    stream.load()
    assert told.applied == [7]
    assert told.heard_at[0] == pytest.approx(400, abs=5)


def test_hearing_from_control_keeps_the_file_young(tmp_path: Path):
    file = FlagFile(tmp_path / "flags.json")
    file.write(flags(7))
    os.utime(tmp_path / "flags.json", (0, 0))
    file.touch(100.0)
    kept = file.read()
    assert kept is not None
    assert kept.age < 60


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": "x"}', b"\xff"])
def test_a_file_that_cannot_be_read_is_no_flags(tmp_path: Path, content: bytes):
    (tmp_path / "flags.json").write_bytes(content)
    assert FlagFile(tmp_path / "flags.json").read() is None


def test_no_file_is_no_flags(tmp_path: Path):
    assert FlagFile(tmp_path / "flags.json").read() is None


def test_a_file_from_the_future_is_not_trusted(tmp_path: Path):
    file = FlagFile(tmp_path / "flags.json")
    file.write(flags(7))
    later = time.time() + 1000
    os.utime(tmp_path / "flags.json", (later, later))
    assert file.read() is None


def test_a_write_that_fails_leaves_the_old_flags(tmp_path: Path):
    file = FlagFile(tmp_path / "flags.json")
    file.write(flags(1))
    (tmp_path / "flags.new").mkdir()
    with pytest.raises(OSError):
        file.write(flags(2))
    kept = file.read()
    assert kept is not None
    assert kept.flags.version == 1

"""Audit segments on disk: their names, their lines, and their compressed form.

A writer's directory holds `00000001.jsonl.zst`, ... (closed) and one `0000000N.jsonl` (open). A
compressed segment is one zstd frame behind which stands a skippable frame with the SHA-256 of the
first: any zstd tool reads it, and no byte of it can change unseen.
"""

import fcntl
import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import zstandard

from molt.core.errors import UpstreamError

TORN: Final = ".torn"
_NAME: Final = re.compile(r"(\d{8})\.jsonl(\.zst)?")
_WRITER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_LOCK: Final = ".lock"
_TRAILER: Final = b"\x5a\x2a\x4d\x18" + (32).to_bytes(4, "little")
_TRAILER_BYTES: Final = len(_TRAILER) + 32
_CHUNK: Final = 1 << 20
_LEVEL: Final = 3


class Damaged(UpstreamError):
    """A segment that cannot be read as it was written."""


def check_writer(name: str) -> str:
    """`name`, when it can name a directory; raises ValueError."""
    if _WRITER.fullmatch(name) is None:
        raise ValueError(f"{name!r}: expected a writer of letters, digits, `.`, `_` and `-`")
    return name


def writers(directory: Path) -> list[str]:
    """The names of all writers that have a directory, sorted; empty when there is no log."""
    if not directory.is_dir():
        return []
    return sorted(
        entry.name for entry in directory.iterdir() if entry.is_dir() and _WRITER.match(entry.name)
    )


def segments(folder: Path) -> dict[int, Path]:
    """The segments of one writer by number, in order; a plain file counts before a compressed."""
    found: dict[int, Path] = {}
    for entry in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else ():
        match = _NAME.fullmatch(entry.name)
        if match:
            found[int(match[1])] = entry  # reverse order: `.jsonl` comes behind `.jsonl.zst`
    return dict(sorted(found.items()))


def plain_path(folder: Path, number: int) -> Path:
    """Where segment `number` is while it is open."""
    return folder / f"{number:08d}.jsonl"


def packed_path(folder: Path, number: int) -> Path:
    """Where segment `number` is once it is compressed."""
    return folder / f"{number:08d}.jsonl.zst"


def read_lines(folder: Path, number: int) -> Iterator[bytes]:
    """The lines of a segment, plain or compressed, even while its form is being changed.

    Each has its newline; the last may lack it. Raises `Damaged` or FileNotFoundError.
    """
    with _opened(folder, number) as (file, packed):
        if packed:
            _check_trailer(file)
            yield from _unpacked(file)
        else:
            yield from file


def first_line(folder: Path, number: int) -> bytes:
    """The first line of a segment as it stands, unchecked. Raises `Damaged`, FileNotFoundError."""
    with _opened(folder, number) as (file, packed):
        return next(_unpacked(file) if packed else iter(file), b"")


@contextmanager
def _opened(folder: Path, number: int) -> Iterator[tuple[IO[bytes], bool]]:
    """A segment's file, and whether it is compressed; the plain one is tried first."""
    packed, file = False, None
    with suppress(FileNotFoundError):
        file = plain_path(folder, number).open("rb", buffering=_CHUNK)
    if file is None:
        packed, file = True, packed_path(folder, number).open("rb")
    with file:
        yield file, packed


def _check_trailer(file: IO[bytes]) -> None:
    size = os.fstat(file.fileno()).st_size - _TRAILER_BYTES
    digest, left = hashlib.sha256(), max(size, 0)
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    if size < 0 or file.read() != _TRAILER + digest.digest():
        raise Damaged(f"{file.name} was changed, or cut off")
    file.seek(0)


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor().stream_reader(file, read_size=_CHUNK, closefd=False)
    try:
        yield from io.BufferedReader(reader, _CHUNK)  # type: ignore[arg-type]  # a raw stream but by name
    except zstandard.ZstdError as error:
        raise Damaged(f"{file.name} cannot be decompressed: {error}") from None


def pack(folder: Path, number: int) -> Path:
    """Compress a closed segment and remove its plain form; the new path. Raises OSError."""
    source, target = plain_path(folder, number), packed_path(folder, number)
    temporary = folder / f".{target.name}"
    digest = hashlib.sha256()
    with source.open("rb") as plain, temporary.open("wb") as packed:
        size = os.fstat(plain.fileno()).st_size
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        for chunk in compressor.read_to_iter(plain, size=size, read_size=_CHUNK):
            digest.update(chunk)
            packed.write(chunk)
        packed.write(_TRAILER + digest.digest())
        sync(packed)
    temporary.replace(target)
    sync_directory(folder)
    source.unlink()
    return target


def write_aside(path: Path, content: bytes) -> None:
    """Keep `content` in a file of its own, in one step and durably."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        file.write(content)
        sync(file)
    temporary.replace(path)
    sync_directory(path.parent)


def sync(file: IO[bytes]) -> None:
    """Put what was written on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(folder: Path) -> None:
    """Put new names in `folder` on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(folder: Path) -> int:
    """Take the writer's lock, held until the handle is closed.

    Raises BlockingIOError while another process writes here.
    """
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise BlockingIOError(f"{folder}: another process writes this audit chain") from None
    return handle


def is_live(folder: Path) -> bool:
    """Whether somebody writes this chain now."""
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False

"""The evidence journal: what was taken in and when it was decided on, so that decisions can be made
again from it.

The store keeps evidence merged; the order in which it came, and how much of it a decision had seen,
is kept only here. One file per rollout, of compressed frames that are appended.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from molt.adapters.sql.blobs import amounts_of
from molt.core.errors import StoreUnavailable
from molt.ports import Frame

_LENGTH: Final = struct.Struct("<I")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return amounts_of(value)
    raise NotImplementedError(type(value))


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_plain)
_decoder: Final = msgspec.msgpack.Decoder(Frame)


class FileJournal:
    """Frames in `folder`, one file for each rollout."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, rollout: str) -> Path:
        """Where the frames of a rollout are."""
        return self._folder / f"{rollout}.journal"

    def write(self, rollout: str, frame: Frame) -> None:
        """Append one frame. Raises `OSError` when it cannot be kept."""
        self._folder.mkdir(parents=True, exist_ok=True)
        body = zlib.compress(_encoder.encode(frame), 1)
        with self.path(rollout).open("ab") as file:
            file.write(_LENGTH.pack(len(body)) + body)

    def frames(self, rollout: str) -> Iterator[Frame]:
        """All frames in order; none without a file. A frame cut off by a crash ends it."""
        path = self.path(rollout)
        if not path.exists():
            return
        with path.open("rb") as file:
            while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
                (size,) = _LENGTH.unpack(head)
                body = file.read(size)
                if len(body) < size:
                    return
                try:
                    yield _decoder.decode(zlib.decompress(body))
                except (zlib.error, msgspec.DecodeError) as error:
                    raise StoreUnavailable(
                        f"{path} cannot be read: it was changed, or written by a newer version"
                    ) from error

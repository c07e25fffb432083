"""Evidence as it is kept in a row, and sequences that decode a row only when it is asked for."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from molt.core.assignment import STATISTICS_BUCKETS
from molt.core.errors import StoreUnavailable
from molt.core.evidence import Slot

R = TypeVar("R")
T = TypeVar("T")

Sums = NDArray[np.float64]

_LITTLE: Final = np.dtype("<f8")
SUMS_BYTES: Final = STATISTICS_BUCKETS * _LITTLE.itemsize
NO_SUMS: Final = bytes(SUMS_BYTES)
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Slot)


def encode_slot(slot: Slot) -> bytes:
    """The slot, key and all."""
    return _encoder.encode(slot)


def decode_slot(body: bytes) -> Slot:
    """The slot in a row. Raises `StoreUnavailable` when the row cannot be read."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise _unreadable("A slot") from error


def encode_sums(sums: Sums) -> bytes:
    """Sums as little-endian float64."""
    return sums.astype(_LITTLE, copy=False).tobytes()


def decode_sums(body: bytes) -> Sums:
    """The sums in one row or several, one after the other; may be written to."""
    if len(body) % SUMS_BYTES:
        raise _unreadable("A row of bucket sums")
    return np.frombuffer(body, _LITTLE).astype(np.float64)


def no_sums() -> Sums:
    """Zero for every statistics bucket."""
    return np.zeros(STATISTICS_BUCKETS)


def checked(buckets: Collection[int]) -> NDArray[np.int64]:
    """`buckets` as an array; `IndexError` when one of them is no statistics bucket."""
    array = np.fromiter(buckets, np.int64, len(buckets))
    if array.size and not 0 <= array.min() <= array.max() < STATISTICS_BUCKETS:
        raise IndexError(f"a statistics bucket is not in 0..{STATISTICS_BUCKETS - 1}")
    return array


def add_amounts(sums: Sums, amounts: Mapping[int, float] | Sums) -> None:
    """Add amounts by bucket, or of all buckets at once."""
    if isinstance(amounts, np.ndarray):
        sums += amounts
        return
    sums[checked(amounts.keys())] += list(amounts.values())


def amounts_of(sums: Sums) -> dict[int, float]:
    """Amounts by bucket, without those that are zero."""
    filled = np.flatnonzero(sums)
    return dict(zip(filled.tolist(), sums[filled].tolist(), strict=True))


def _unreadable(what: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{what} cannot be read: it was changed behind Molt's back or written by a newer version. "
        "Restore a backup, or run the version that wrote it"
    )


class Lazily(Sequence[T], Generic[R, T]):
    """Rows that become values one at a time: four weeks of slots as objects would fill memory."""

    def __init__(self, rows: Sequence[R], value_of: Callable[[R], T]) -> None:
        self._rows = rows
        self._value_of = value_of

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return Lazily(self._rows[index], self._value_of)
        return self._value_of(self._rows[index])


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in pieces of at most `size`: a statement takes only so many parameters."""
    left = iter(items)
    while piece := list(islice(left, size)):
        yield piece

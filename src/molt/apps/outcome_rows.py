"""Outcomes as rows of a CSV file, read one at a time."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from molt.core.errors import OperatorError

REQUIRED: Final = ("id", "subject", "kind", "at")
"""Columns that a CSV file must have: without its time a row would count as of now."""
OPTIONAL: Final = ("value", "agent", "rollout")


class Row(NamedTuple):
    """One reported outcome as it was written, and the line (or place in the array) it stands on."""

    line: int
    fields: Any


def csv_rows(lines: Iterable[str]) -> Iterator[Row]:
    """Rows of a CSV file with a header, empty fields left out. Raises `OperatorError`."""
    reader = csv.reader(lines, strict=True)
    header = _header(next(reader, []))
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise OperatorError(f"line {reader.line_num}: {error}") from None
        if values is None:
            return
        if not values:
            continue
        if len(values) != len(header):
            yield Row(reader.line_num, f"{len(values)} fields, the header has {len(header)}")
        else:
            pairs = zip(header, values, strict=True)
            yield Row(reader.line_num, {k: v.strip() for k, v in pairs if v.strip()})


def _header(names: Sequence[str]) -> list[str]:
    found = [name.strip().lower() for name in names]
    known = f"expected a header with {', '.join(REQUIRED)}, and if needed {', '.join(OPTIONAL)}"
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise OperatorError(f"line 1: no column {', '.join(missing)}; {known}")
    strange = [name for name in found if name not in (*REQUIRED, *OPTIONAL)]
    if strange or len(set(found)) < len(found):
        what = f"unknown column {', '.join(strange)}" if strange else "a column stands there twice"
        raise OperatorError(f"line 1: {what}; {known}")
    return found

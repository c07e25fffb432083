"""A time range of the audit log as Parquet; needs the extra `analytics` (DuckDB)."""

import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from molt.adapters.audit_export import COLUMNS, Where, export_lines
from molt.core.errors import OperatorError

PIECE_BYTES: Final = 1 << 16
MEMORY: Final = "160MB"
"""What DuckDB may take; its own buffers for reading, 32 MB each, would not fit into it."""
LINE_BYTES: Final = 4_000_000
"""The longest line that can be read, and the size of its buffers."""
ROWS: Final = 20_480
"""Rows of a group, which is what is held at once for writing."""
FILE_BYTES: Final = 1 << 24
"""DuckDB holds what it reads until it is through with a file: it is given many, none larger."""

_COPY: Final = """
    COPY (
        SELECT * FROM read_csv(
            $lines, auto_detect = false, header = false, parallel = false,
            buffer_size = {line}, max_line_size = {line},
            delim = ',', quote = '"', escape = '"', new_line = '\\r\\n', columns = $columns
        )
    ) TO '{target}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows})
"""


def parquet(
    folder: Path, start: datetime, end: datetime, *, where: Where | None = None
) -> Iterator[bytes]:
    """The file in pieces, its columns those of the CSV export, all text; memory does not grow with
    its size.

    It is written aside first, since Parquet keeps its index at the end. Raises `OperatorError`
    where DuckDB is missing.
    """
    try:
        import duckdb
    except ImportError:
        raise OperatorError(
            "Parquet needs DuckDB: pip install 'moltbot-rollout[analytics]'; JSONL and CSV need nothing"
        ) from None
    aside = tempfile.TemporaryDirectory(prefix="molt-parquet-")
    target = Path(aside.name) / "audit.parquet"
    lines = _files(Path(aside.name), export_lines(folder, start, end, "csv", where=where))
    limits = {"memory_limit": MEMORY, "threads": 1, "temp_directory": aside.name}
    with duckdb.connect(config=limits) as db:
        columns = dict.fromkeys((*COLUMNS, "more"), "VARCHAR")
        copy = _COPY.format(target=str(target).replace("'", "''"), rows=ROWS, line=LINE_BYTES)
        db.execute(copy, {"lines": [str(file) for file in lines], "columns": columns})
    for file in lines:
        file.unlink()
    return _pieces(aside, target)


def _files(folder: Path, chunks: Iterator[bytes]) -> list[Path]:
    """The lines of a CSV export in files of some `FILE_BYTES`, without their header."""
    files: list[Path] = []
    chunk: bytes | None = next(chunks).partition(b"\r\n")[2]
    while chunk is not None:
        files.append(folder / f"{len(files):06d}.csv")
        with files[-1].open("wb") as out:
            while chunk is not None and out.tell() < FILE_BYTES:
                out.write(chunk)
                chunk = next(chunks, None)
    return files


def _pieces(aside: tempfile.TemporaryDirectory[str], target: Path) -> Iterator[bytes]:
    with aside, target.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece

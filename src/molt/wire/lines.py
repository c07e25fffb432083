"""Header lines, taken apart once: clients and services repeat themselves.

Only lines that llhttp has accepted come here. Nothing is remembered of a line but its two parts.
"""

from typing import Final

Parts = tuple[bytes, ...]
"""`(name, b": ", value, b"\\r\\n")` of a header that is passed on, `(name, value)` of a special one.

Names are in lower case; values are without the space around them.
"""

_MOST: Final = 4096
_LONGEST: Final = 256


class HeaderLines(dict[bytes, Parts]):
    """Maps a header line to its parts; bounded, and emptied when full.

    Special are the names in `special`, and those that begin with `prefix`, if one is given.
    """

    def __init__(self, special: frozenset[bytes], prefix: bytes | None = None) -> None:
        super().__init__()
        self._special = special
        self._prefix = prefix

    def __missing__(self, line: bytes) -> Parts:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        special = name in self._special
        if self._prefix is not None and name.startswith(self._prefix):
            special = True
        parts: Parts = (name, value) if special else (name, b": ", value, b"\r\n")
        if len(line) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[line] = parts
        return parts

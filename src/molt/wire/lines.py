"""Header lines, taken apart once: clients and services repeat themselves."""

from collections.abc import Callable, Mapping, Set
from types import MappingProxyType
from typing import Final

_MOST: Final = 4096
"""Lines that are remembered; then everything is forgotten."""
_LONGEST: Final = 256

_NO_REWRITES: Final[Mapping[bytes, Callable[[bytes], bytes]]] = MappingProxyType({})
_Fields = dict[bytes, bytes | None]


class HeaderLines(dict[bytes, tuple[bytes, ...]]):
    """Turns header lines into headers: those that are passed on, and the special ones.

    Special are the names in `special`, and those that begin with `prefix`, if one is given. Those
    in `rewrites` are passed on with what their function makes of the value. Those
    in `watched` are passed on and also noted by name; they tell who is asking, so that they differ
    from request to request and are not worth remembering. A line maps to its four places in a flat
    list, or, if it is special, to its name and value. llhttp judges every head, whether its lines
    are known here or not.
    """

    def __init__(
        self,
        special: Set[bytes],
        prefix: bytes | None = None,
        watched: Set[bytes] = frozenset(),
        rewrites: Mapping[bytes, Callable[[bytes], bytes]] = _NO_REWRITES,
    ) -> None:
        super().__init__()
        self._rewrites = rewrites
        self._special = special
        self._prefix = prefix
        own = {name for name in watched if prefix is not None and name.startswith(prefix)}
        self._unseen: _Fields = dict.fromkeys(watched - special - own)
        self.seen: _Fields = self._unseen
        """The first value of each watched header in the lines last taken, None for none."""

    def take(self, lines: list[bytes]) -> tuple[list[bytes], dict[bytes, bytes]]:
        """Plain headers as a flat list, and the special ones by name, repeated values joined.

        Names are in lower case, values without the space around them.
        """
        plain: list[bytes] = []
        special: dict[bytes, bytes] = {}
        self.seen = self._unseen
        known = self.get
        for line in lines:
            parts = known(line) or self._parts(line)
            if len(parts) == 4:
                plain += parts
            else:
                name, value = parts
                special[name] = special[name] + b", " + value if name in special else value
        return plain, special

    def _parts(self, line: bytes) -> tuple[bytes, ...]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if (rewrite := self._rewrites.get(name)) is not None:
            value = rewrite(value)
        if name in self._unseen:
            if self.seen is self._unseen:
                self.seen = self._unseen.copy()
            if self.seen[name] is None:
                self.seen[name] = value
            return name, b": ", value, b"\r\n"
        special = name in self._special
        if self._prefix is not None and name.startswith(self._prefix):
            special = True
        parts = (name, value) if special else (name, b": ", value, b"\r\n")
        if len(line) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[line] = parts
        return parts

"""What tools that only read have answered live runs, for shadow runs that must not call them."""

from collections import OrderedDict
from typing import Any, Final

import msgspec

MOST_ANSWERS: Final = 2000
LONGEST: Final = 256 * 1024


class Recorded:
    """The last answers by server, tool and arguments."""

    def __init__(self, most: int = MOST_ANSWERS) -> None:
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._most = most

    def keep(self, server: str, tool: str, arguments: Any, answer: bytes) -> None:
        """Remember an answer; the oldest make room."""
        if len(answer) > LONGEST:
            return
        key = _key(server, tool, arguments)
        self._answers[key] = answer
        self._answers.move_to_end(key)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def find(self, server: str, tool: str, arguments: Any) -> bytes | None:
        """The last answer to the same call."""
        return self._answers.get(_key(server, tool, arguments))


def _key(server: str, tool: str, arguments: Any) -> bytes:
    return msgspec.json.encode([server, tool, arguments], order="sorted")

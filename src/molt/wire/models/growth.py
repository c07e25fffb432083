"""Calls of tools in a stream of chat completions, put together from their pieces.

Neither a name nor arguments have an end of their own. A name is whole when arguments begin, a further
call does, or the choice ends. Arguments are whole when the choice ends; or when a further call begins
and they are JSON, for else the pieces of both come in turns.
"""

import msgspec

from molt.wire.models.base import Made, Unreadable, Weighed

Place = tuple[int, object]
"""Choice, and index of the call in it."""


class _Call:
    """`pieces` are of arguments that matter; once they were told the call is `over`."""

    __slots__ = ("id", "name", "over", "pieces", "whole")

    def __init__(self, id_: str | None) -> None:
        self.id = id_
        self.name = ""
        self.whole = False
        self.pieces: list[str] | None = None
        self.over = False


class Growth:
    """All calls of one answer. `growing` are those that may not go on yet; `told` collects what
    became known of any."""

    def __init__(self, weighed: Weighed) -> None:
        self.told: list[Made] = []
        self.growing: dict[Place, _Call] = {}
        self._weighed = weighed
        self._known: dict[Place, _Call] = {}

    def add(self, place: Place, id_: str | None, name: str | None, arguments: str | None) -> None:
        """Take a piece of a call. Raises `Unreadable` where it comes too late to be judged."""
        known = self._known.get(place)
        # A new id with a name is a new call; some servers make up an id for each piece of one call.
        if known is None or (name and id_ and known.id and id_ != known.id):
            known = self._begin(place, id_)
        # Some servers say id and name again with each piece; pieces of a name come without the id.
        again = name == known.name and (known.whole or bool(id_ and id_ == known.id))
        if name and not (again and known.name):
            known.name += name
            if known.whole:
                self._renamed(known)
        if arguments:
            self._named(place, known)
            if not known.over and known.pieces is not None:
                known.pieces.append(arguments)
            elif known.over and arguments.strip():
                raise Unreadable("more of arguments that had ended")

    def end(self, choice: int | None = None) -> None:
        """The calls of this choice, or of all, are whole."""
        for place, call in list(self.growing.items()):
            if choice is None or place[0] == choice:
                self._named(place, call)
                self._over(place, call)

    def drop(self) -> None:
        """The answer broke off: nobody carries out what it began."""
        self._known.clear()
        self.growing.clear()

    def _begin(self, place: Place, id_: str | None) -> _Call:
        for other, call in list(self.growing.items()):
            if other[0] == place[0]:
                self._named(other, call)
                if other == place or _is_json("".join(call.pieces or ())):
                    self._over(other, call)
        new = self._known[place] = self.growing[place] = _Call(id_)
        return new

    def _named(self, place: Place, call: _Call) -> None:
        if call.whole:
            return
        call.whole = True
        if call.name:  # nobody can carry out a call without one
            self.told.append(Made(call.name))
            if self._weighed(call.name):
                call.pieces = []
                return
        del self.growing[place]

    def _renamed(self, call: _Call) -> None:
        """More of a name that had seemed whole."""
        if (call.pieces is None or call.over) and self._weighed(call.name):
            raise Unreadable("more of a name whose arguments had begun")
        self.told.append(Made(call.name))

    def _over(self, place: Place, call: _Call) -> None:
        if call.pieces is not None:
            self.told.append(Made(call.name, "".join(call.pieces)))
            call.pieces, call.over = [], True
            self.growing.pop(place, None)


def _is_json(text: str) -> bool:
    """Whether `text` is a whole JSON value."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True

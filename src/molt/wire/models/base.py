"""What all model APIs have in common."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")

_BLOB: Final = re.compile(rb"[A-Za-z0-9+/=_-]{1000,}")
"""Base64 of pictures and files: counted by the piece, not by the byte."""
_TOKENS_A_BLOB: Final = 1000
_BYTES_A_TOKEN: Final = 4

Fields = dict[str, Raw]
NOTHING: Final = Raw(b"null")
"""A field that is not there. (msgspec has no unions with `Raw`.)"""
_fields = msgspec.json.Decoder(Fields)


class BadRequest(ValueError):
    """The request cannot be passed on; the message says what is wrong with it."""


class Unreadable(ValueError):
    """An answer, or an event of it, is not of this API's form."""


class Made(NamedTuple):
    """A call of a tool that an answer asks for. `arguments` is JSON text, empty where there are none;
    None where only the name is known."""

    name: str
    arguments: str | None = None


Weighed = Callable[[str], bool]
"""Whether the arguments of a tool matter. A stream that calls it is held back until they are known."""


def nothing_weighed(tool: str) -> bool:
    """For streams of which nothing is held back but names."""
    return False


class Asked(msgspec.Struct, frozen=True):
    """What a request asks for. `fields` are its own bytes by name.

    `most` is the limit it sets on each of its `choices`; `hosted` are tools that the provider would
    run itself; `wants_usage` whether the client asked for usage in a stream; `estimate` about how
    many tokens its input has.
    """

    fields: Fields
    model: str
    stream: bool
    most: int | None
    estimate: int
    choices: int = 1
    hosted: tuple[str, ...] = ()
    wants_usage: bool = True


class Passing(Protocol):
    """A stream on its way to the client: `read` an event, judge its `calls`, `release`.

    `calls` are those of which the event just read told the name, or all arguments: the latter of
    weighed tools only. A call of one goes on when its arguments have been told, not before.
    `text` and `pieces` count what the model has said: bytes, and events that carried some.
    """

    calls: list[Made]
    text: int
    pieces: int

    def read(self, block: bytes) -> None:
        """Take an event. Raises `Unreadable`, and `TooLarge` when more would have to be held."""
        ...

    def skip(self, block: bytes) -> None:
        """Let an event go on that cannot be read."""
        ...

    def release(self) -> bytes:
        """What goes on, now that `calls` are allowed."""
        ...

    def finish(self) -> None:
        """Take the end of the stream. What still waits is half a call: it never goes on."""
        ...

    def cut(self, why: str) -> bytes:
        """An end as if the limit that the client set had been reached. What waits never goes on,
        here and below."""
        ...

    def refuse(self, why: str) -> bytes:
        """An end in which the model declines."""
        ...

    def fail(self, why: str) -> bytes:
        """An end with an error."""
        ...


class Dialect(Protocol):
    """One API."""

    @property
    def name(self) -> str:
        """`chat`, `responses`, `messages`."""
        ...

    @property
    def path(self) -> str:
        """Where it is asked."""
        ...

    @property
    def least(self) -> int:
        """The smallest limit that the API takes."""
        ...

    def read(self, body: bytes) -> Asked:
        """What `body` asks for. Raises `BadRequest`."""
        ...

    def limited(self, asked: Asked, most: int, field: str) -> bytes:
        """The body to send on: at most `most` tokens for each choice. `field` names the limit where
        the API has several names and the request none."""
        ...

    def key(self, key: str) -> tuple[str, str]:
        """The header that carries a key."""
        ...

    def error(self, kind: str, message: str) -> bytes:
        """The body of an error."""
        ...

    def calls(self, body: bytes) -> list[Made]:
        """The tools that a whole answer calls. Raises `Unreadable`."""
        ...

    def refusal(self, body: bytes, why: str) -> bytes:
        """A whole answer in which the model declines, in the place of `body`."""
        ...

    def passing(self, asked: Asked, weighed: Weighed = nothing_weighed) -> Passing:
        """A stream that answers `asked`."""
        ...


def read_fields(body: bytes) -> Fields:
    """The top level of a request."""
    try:
        return _fields.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not a JSON object: {error}") from None


def field(fields: Mapping[str, Raw], name: str, form: type[T], default: T) -> T:
    """The value of one field; `default` where it is missing or null. Raises `BadRequest`."""
    raw = fields.get(name)
    if raw is None:
        return default
    try:
        found = _decoder(form).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{name}: {error}") from None
    return default if found is None else found


@cache
def _decoder(form: Any) -> Any:
    return msgspec.json.Decoder(form | None)


def model_of(fields: Mapping[str, Raw]) -> str:
    """The model that is asked for."""
    model = field(fields, "model", str, "")
    if not model:
        raise BadRequest("model: which one?")
    return model


def limit_of(fields: Mapping[str, Raw], name: str) -> int | None:
    """A limit that the request sets."""
    most = field(fields, name, int, -1)
    return None if most < 0 else most


def estimate(body: bytes) -> int:
    """About how many tokens a request has: four bytes a token, which is near for prose and JSON."""
    blobs = 0
    if len(body) > 4000:
        body, blobs = _BLOB.subn(b"", body)
    return len(body) // _BYTES_A_TOKEN + blobs * _TOKENS_A_BLOB


def raw(value: Any) -> Raw:
    """`value` as JSON."""
    return Raw(msgspec.json.encode(value))


def changed(fields: Mapping[str, Raw], **values: Any) -> bytes:
    """The request or answer with some fields replaced; all others keep their bytes."""
    return msgspec.json.encode({**fields, **{name: raw(v) for name, v in values.items()}})


def joined(data: Iterable[str | None]) -> int:
    """Bytes of texts."""
    size = 0
    for text in data:
        if text:
            size += len(text.encode())
    return size

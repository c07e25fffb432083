"""What all model APIs have in common."""

import re
from collections.abc import Iterable, Mapping
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
    """A call of a tool that an answer asks for; `arguments` is JSON text, if it is known."""

    name: str
    arguments: str | None = None


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
    """A stream on its way to the client, event by event.

    `named` are the tools that the event just read called: judge them before its bytes go on.
    `text` and `pieces` count what the model has said: bytes, and events that carried some.
    """

    named: list[str]
    text: int
    pieces: int

    def read(self, block: bytes) -> bytes:
        """What may go on now, if nothing in `named` is forbidden. Raises `Unreadable`."""
        ...

    def finish(self) -> bytes:
        """What was held back when the stream ended; `named` as after `read`."""
        ...

    def cut(self, why: str) -> bytes:
        """An end as if the limit that the client set had been reached."""
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

    def passing(self, asked: Asked) -> Passing:
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
    return sum(len(text.encode()) for text in data if text)

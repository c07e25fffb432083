"""Content codings: upstreams are offered only those that are read here, else nobody could look in."""

from typing import Final

READ: Final = frozenset({"identity", "gzip", "x-gzip", "deflate"})
"""What the standard library undoes."""


def offered(accepted: bytes) -> bytes:
    """The value of an `Accept-Encoding` header without the codings that are not read here."""
    kept = [one.strip() for one in accepted.split(b",") if _name(one) in READ]
    return b", ".join(kept) or b"identity"


def is_read(coding: str | None) -> bool:
    """Whether an answer in that `Content-Encoding` is read; None is none at all."""
    return (coding or "identity").strip().lower() in READ


def _name(coding: bytes) -> str:
    return coding.partition(b";")[0].strip().lower().decode("latin-1")

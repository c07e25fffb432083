"""What a data-plane process is told, as one JSON file; it holds keys, so its mode is 0600."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from molt.core.errors import OperatorError

T = TypeVar("T")


def read_settings(path: Path, form: type[T]) -> T:
    """The settings in a file. Raises `OperatorError` that says what is wrong with it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=form)
    except (OSError, msgspec.DecodeError) as error:
        raise OperatorError(f"settings {path}: {error}") from None


def write_settings(path: Path, settings: msgspec.Struct) -> None:
    """Write a file that only its owner can read. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(settings), indent=2))
    fresh.replace(path)

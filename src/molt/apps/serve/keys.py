"""The secrets of one installation: made at first start, readable by its owner only."""

import os
import secrets
from pathlib import Path
from typing import NamedTuple


class Keys(NamedTuple):
    """`gateway` lets gateways in, `run` signs run tokens, `subject` hides subject ids,
    `web` signs what browsers and links bring back."""

    gateway: str
    run: bytes
    subject: bytes
    web: bytes


def load_keys(data: Path) -> Keys:
    """The keys in `data`/keys, made where they are missing. Raises OSError."""
    folder = data / "keys"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    gateway, *others = (_key(folder / name) for name in Keys._fields)
    return Keys(gateway, *map(bytes.fromhex, others))


def _key(path: Path) -> str:
    """Created by link, so that two starts at once agree on one key and none is ever half-written."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # somebody else was first; theirs counts
        finally:
            fresh.unlink()
    return path.read_text().strip()

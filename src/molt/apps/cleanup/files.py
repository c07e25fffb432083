"""Which files to look at, and what is in them."""

import os
import subprocess
import tokenize
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, NamedTuple

from molt.apps.cleanup.findings import Finding, in_text
from molt.apps.cleanup.imports import Modules
from molt.apps.cleanup.python_source import in_python
from molt.core.errors import OperatorError

MOST_BYTES: Final = 2 << 20
SKIPPED: Final = frozenset({"node_modules", "__pycache__", "venv", "dist", "build", "vendor"})


class Swept(NamedTuple):
    """What was found in how many files. `unread` are files that could not be looked at, and why;
    `by_text` are Python files of a syntax that is not understood here, read line by line."""

    findings: list[Finding]
    files: int
    unread: dict[str, str]
    by_text: list[str]


def sweep(paths: Sequence[Path], ignore: Sequence[str] = ()) -> Swept:
    """Findings in all files below `paths`, sorted by file and line.

    In a git checkout, the files that git tracks or would track; elsewhere all but hidden and
    generated ones. Raises `OperatorError` for a path that does not exist.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise OperatorError(f"{path}: there is no such file or folder")
        for file in [path] if path.is_file() else sorted(_below(path)):
            if not any(fnmatch(str(file), glob) for glob in ignore):
                files[file] = None
    modules = Modules()
    modules.learn(files)
    swept = Swept([], 0, {}, [])
    swept = swept._replace(files=sum(_look(file, swept, modules) for file in files))
    swept.findings.sort()
    return swept


def _look(file: Path, swept: Swept, modules: Modules) -> int:
    """Add what is in `file`; 1 when it was looked at, 0 for what holds no text."""
    name = str(file)
    try:
        if file.stat().st_size > MOST_BYTES:
            swept.unread[name] = f"larger than {MOST_BYTES >> 20} MiB"
            return 0
        raw = file.read_bytes()
        if b"\0" in raw:
            return 0
        swept.findings.extend(_findings(file, raw.decode(), swept, modules))
    except UnicodeDecodeError:
        swept.unread[name] = "not UTF-8"
        return 0
    except OSError as error:
        swept.unread[name] = error.strerror or str(error)
        return 0
    return 1


def _findings(file: Path, text: str, swept: Swept, modules: Modules) -> list[Finding]:
    if file.suffix in (".py", ".pyi"):
        try:
            return in_python(text, str(file), modules.into(file))
        except (SyntaxError, tokenize.TokenError, RecursionError):
            swept.by_text.append(str(file))
    return in_text(text, str(file))


def _below(folder: Path) -> Iterator[Path]:
    tracked = _tracked(folder)
    if tracked is not None:
        yield from (file for file in tracked if file.is_file())
        return
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f not in SKIPPED and not f.startswith(".")]
        yield from (Path(place) / name for name in files)


def _tracked(folder: Path) -> list[Path] | None:
    """The files of a git checkout below `folder`; None where there is none, or no git."""
    command = [
        "git",
        "-C",
        str(folder),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    try:
        done = subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - a fixed command
    except (OSError, subprocess.CalledProcessError):
        return None
    return [folder / os.fsdecode(name) for name in done.stdout.split(b"\0") if name]

"""The flags file (`MOLTBOT_*`, KEY=VALUE lines) and the same flags in the process environment.

A malformed file is an error with its place, never a silent default. Deleting the file does not
lift its bounds either: an empty file does.
"""

import asyncio
import errno
import os
import re
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

import structlog
from watchfiles import awatch

from molt.adapters.flag_values import (
    Agents,
    Setting,
    aliases,
    bounds_of,
    checked,
    is_flag,
)
from molt.adapters.problems import ConfigError, Problem
from molt.core.flags import Bounds

log = structlog.get_logger(__name__)

POLL_MS: Final = 1000
"""A change is seen within this time even where the system reports none (network mounts)."""

_LINE: Final = re.compile(r"(\s*(?:export\s+)?)([A-Za-z_][A-Za-z0-9_.-]*)(\s*=\s*)(.*?)(\s*)")
_QUOTED: Final = re.compile(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"")
_COMMENT: Final = re.compile(r"(?:^|\s+)#.*$")


def read_env(environ: Mapping[str, str], agents: Agents = None) -> Bounds:
    """What the process environment allows; raises `ConfigError` naming the variables."""
    places = ((key, value, f"environment {key}") for key, value in environ.items())
    settings = (Setting(key, value.strip(), place, place) for key, value, place in places)
    try:
        return bounds_of(settings, agents)
    except ConfigError as error:
        raise ConfigError([p._replace(path="") for p in error.problems]) from None


def parse_env(text: str, name: str, agents: Agents = None) -> Bounds:
    """What a flags file says; raises `ConfigError` with `name:line:column` of every problem."""
    problems: list[Problem] = []
    settings = list(_settings(text, name, problems))
    bounds = Bounds()
    try:
        bounds = bounds_of(settings, agents)
    except ConfigError as error:
        problems.extend(error.problems)
    if problems:
        raise ConfigError(sorted(problems, key=_line_number))
    return bounds


def _line_number(problem: Problem) -> int:
    return int(problem.place.split(":")[-2])


def _settings(text: str, name: str, problems: list[Problem]) -> Iterator[Setting]:
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            column = len(line) - len(line.lstrip()) + 1
            text = f"{line.strip()[:60]!r} is not a setting; expected KEY=VALUE"
            problems.append(Problem(f"{name}:{number}:{column}", "", text))
            continue
        place = f"{name}:{number}:{match.start(4) + 1}"
        value = _unquoted(match[4])
        if value is None:
            problems.append(Problem(place, match[2], "expected a closing quote in the same line"))
            continue
        yield Setting(match[2], value, f"{name}:{number}:{match.start(2) + 1}", place)


def _unquoted(raw: str) -> str | None:
    """The value without quotes and trailing comment; None when a quote is not closed."""
    if raw[:1] not in ("'", '"'):
        return _COMMENT.sub("", raw)
    match = _QUOTED.match(raw)
    if match is None or _COMMENT.sub("", raw[match.end() :]).strip():
        return None
    return match[1] if match[1] is not None else re.sub(r"\\(.)", r"\1", match[2])


class EnvFile:
    """The flags file. `agents` gives the names it may switch; see `flag_values.Agents`."""

    def __init__(self, path: Path, agents: Callable[[], Agents] | None = None) -> None:
        self.path = path
        self._agents = agents or (lambda: None)
        self._existed = False

    @property
    def place(self) -> str:
        """Its path, whole."""
        return str(self.path.absolute())

    def read(self) -> Bounds:
        """The bounds as they stand; a file that was never there says nothing.

        Raises `ConfigError` when malformed or gone since it was last read, OSError when unreadable.
        """
        return self._parse(self._raw())

    def set(self, key: str, value: str) -> None:
        """Write one flag at once and durably; comments, order and other lines stay as they were.

        Creates the file (mode 0600) when missing. Raises `ConfigError` on a bad key or value.
        """
        if not is_flag(key):
            raise ConfigError([Problem(str(self.path), key, "is not a MOLTBOT_ flag")])
        try:
            checked(key, value, self._agents())
        except ValueError as error:
            raise ConfigError([Problem(str(self.path), key, str(error))]) from None
        raw = self._raw()
        text = "" if raw is None else raw.decode("utf-8", "surrogateescape")
        new = _with(text, key, value).encode("utf-8", "surrogateescape")
        if new != raw:
            _replace(self.path, new)

    async def watch(self) -> AsyncGenerator[Bounds | ConfigError, None]:
        """The present state, then each new one, within milliseconds of a change (1 s at worst).

        Renames over the file, deletion and re-creation are changes like any other.
        """
        async with aclosing(self._wakes()) as wakes:
            last: bytes | str | None = "not read yet"
            async for _ in wakes:
                try:
                    raw = await asyncio.to_thread(self._raw)
                except OSError as error:
                    if str(error) != last:
                        last = str(error)
                        yield ConfigError([Problem(str(self.path), "", f"cannot be read: {error}")])
                    continue
                if raw == last:
                    continue
                last = raw
                try:
                    yield self._parse(raw)
                except ConfigError as error:
                    yield error

    async def _wakes(self) -> AsyncGenerator[None, None]:
        """A wake-up at once, after each event in the file's directory, and every `POLL_MS`."""
        yield
        while True:
            try:
                changes = awatch(
                    self.path.parent,
                    watch_filter=None,
                    debounce=50,
                    step=10,
                    rust_timeout=POLL_MS,
                    yield_on_timeout=True,
                    recursive=False,
                )
                async with aclosing(changes):
                    async for _ in changes:
                        yield
            except OSError as error:  # no such directory yet, or no watches left: poll
                log.debug("flags_file_polled", path=str(self.path), reason=str(error))
                await asyncio.sleep(POLL_MS / 1000)
                yield

    def _raw(self) -> bytes | None:
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return None
        self._existed = True
        return raw

    def _parse(self, raw: bytes | None) -> Bounds:
        if raw is None:
            if self._existed:
                text = "is gone, its last bounds stay; expected the file, an empty one lifts them"
                raise ConfigError([Problem(str(self.path), "", text)])
            return Bounds()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            column = error.start - raw.rfind(b"\n", 0, error.start)
            place = f"{self.path}:{line}:{column}"
            raise ConfigError([Problem(place, "", "not text; expected UTF-8")]) from None
        return parse_env(text, str(self.path), self._agents())


def _with(text: str, key: str, value: str) -> str:
    """`text` with every line of this flag saying `value`, or one line more."""
    names, found = aliases(key), False
    lines = text.splitlines(keepends=True)
    for i, line in enumerate(lines):
        body = line.rstrip("\r\n")
        match = _LINE.fullmatch(body.removeprefix("\ufeff"))
        if match is None or match[2] not in names:
            continue
        found = True
        raw = match[4]
        quoted = _QUOTED.match(raw)
        comment = _COMMENT.search(raw, quoted.end() if quoted else 0)
        mark = "\ufeff" if body.startswith("\ufeff") else ""
        tail = (comment[0] if comment else "") + match[5] + line[len(body) :]
        lines[i] = mark + match[1] + match[2] + match[3] + value + tail
    if not found:
        ending = "\r\n" if "\r\n" in text else "\n"
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += ending
        lines.append(f"{key}={value}{ending}")
    return "".join(lines)


def _replace(path: Path, content: bytes) -> None:
    """Put `content` in place of the file in one step, durably; links stay links."""
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not target.exists():
            raise
        return _overwrite(target, content)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError, PermissionError):
            was = target.stat()
            Path(temporary).chmod(was.st_mode & 0o777)
            os.chown(temporary, was.st_uid, was.st_gid)
        Path(temporary).replace(target)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        if error.errno != errno.EBUSY:
            raise
        return _overwrite(target, content)
    return _sync_directory(target.parent)


def _overwrite(target: Path, content: bytes) -> None:
    """Write in place: a file mounted by itself into a container cannot be replaced by a rename."""
    with target.open("r+b") as file:
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""`molt assign`: which arm a subject gets, and why; fast enough for whole user tables."""

import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, BinaryIO

import msgspec
import typer

from molt.apps.cli.exits import NotHeld
from molt.apps.cli.options import Json, Rollout, Token, Url
from molt.core.assignment import Assignment
from molt.core.errors import OperatorError

BLOCK = 1 << 20
"""Bytes read at once from standard input."""

Line = Callable[[str], bytes]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(assign)


def assign(
    subjects: Annotated[
        list[str] | None, typer.Argument(metavar="SUBJECT...", help="User or session ids.")
    ] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read one subject a line from standard input.")
    ] = False,
    salt: Annotated[str | None, typer.Option(help="Instead of the rollout's salt.")] = None,
    percent: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Instead of the rollout's share: as if live at it."),
    ] = None,
    agent: Annotated[
        str | None, typer.Option(help="Agent type; default: the first enabled one.")
    ] = None,
    rollout: Rollout = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Say which arm a subject gets, and why.

    By the running Molt's flags, as a gateway would decide a new conversation; with both --salt and
    --percent offline. --json prints one object a line: subject, bucket (of 10,000), arm, reason. An
    empty line is a request without a subject, and gets an answer too.
    """
    if stdin == bool(subjects):
        raise OperatorError("Give either subjects or --stdin")
    line = _answering(_deciding(salt, percent, agent, rollout, (url, token)), as_json)
    out = sys.stdout.buffer
    if subjects:
        out.write(b"".join(map(line, subjects)))
    else:
        _stream(sys.stdin.buffer, out, line)
    out.flush()


def _deciding(
    salt: str | None,
    percent: float | None,
    agent: str | None,
    rollout: str | None,
    connection: tuple[str | None, str | None],
) -> Callable[[str | None], Assignment]:
    """A function that decides one subject."""
    from molt.core.assignment import assign as decide
    from molt.core.flags import FULL, RolloutFlags

    if salt is not None and percent is not None:
        flags = RolloutFlags(
            rollout=rollout or "",
            epoch=0,
            agents=(),
            enabled=True,
            shadow=False,
            share=0,
            mirror=0,
            salt=salt,
            statistics_salt="",
            tiers=(),
            cuts=(),
        )
    else:
        flags = _running(rollout, agent, connection)
    changes: dict[str, Any] = {} if salt is None else {"salt": salt}
    if percent is not None:
        changes |= {"share": round(percent * FULL / 100), "enabled": True, "shadow": False}
    flags = msgspec.structs.replace(flags, **changes)
    enabled = (a for a in flags.agents if a not in flags.disabled_agents)
    chosen = agent or next(enabled, None) or next(iter(flags.agents), "")
    return lambda subject: decide(flags, chosen, subject)


def _running(rollout: str | None, agent: str | None, connection: tuple[str | None, str | None]):
    """The flags in force for the rollout that is meant."""
    from molt.apps.cli.client import connect
    from molt.core.flags import Flags

    with connect(*connection) as api:
        found = api.get("/flags")["flags"]
    covered = msgspec.convert(found, Flags).rollouts if found else ()
    if not covered:
        raise NotHeld(
            "No rollout is in force: everybody gets control. Offline: --salt and --percent"
        )
    matching = [
        r for r in covered if rollout in (None, r.rollout) and (agent is None or agent in r.agents)
    ]
    if len(matching) == 1:
        return matching[0]
    known = "; ".join(f"{r.rollout} ({', '.join(r.agents)})" for r in covered)
    raise OperatorError(f"Which rollout? Give --rollout or --agent; in force: {known}")


def _answering(decide: Callable[[str | None], Assignment], as_json: bool) -> Line:
    """A function from a subject to the bytes of its line."""
    encode = msgspec.json.Encoder().encode

    def json_line(subject: str) -> bytes:
        found = decide(subject or None)
        shown = found.bucket if found.bucket >= 0 else None
        answer = {"subject": subject, "bucket": shown, "arm": found.arm, "reason": found.reason}
        return encode(answer) + b"\n"

    def text_line(subject: str) -> bytes:
        found = decide(subject or None)
        shown = found.bucket if found.bucket >= 0 else "-"
        return f"{subject}\t{shown}\t{found.arm}\t{found.reason}\n".encode()

    return json_line if as_json else text_line


def _stream(source: BinaryIO, out: BinaryIO, line: Line) -> None:
    """Answer every line as it comes, a block at a time."""
    number = 0
    for lines in _blocks(source):
        try:
            answers = [line(subject.removesuffix(b"\r").decode()) for subject in lines]
        except UnicodeDecodeError:
            bad = next(i for i, subject in enumerate(lines, number + 1) if not _is_text(subject))
            raise OperatorError(f"standard input, line {bad}: not UTF-8 text") from None
        number += len(lines)
        out.write(b"".join(answers))
        out.flush()


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _blocks(source: BinaryIO) -> Iterator[list[bytes]]:
    """The whole lines of each block, without their ends; a last line may lack its end."""
    read = getattr(source, "read1", source.read)
    rest = b""
    while block := read(BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]

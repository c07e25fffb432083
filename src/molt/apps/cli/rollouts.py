"""Commands that move a rollout: start, ask, approve, promote, pause, resume, rollback, abort, note."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from molt.apps.cli import configured
from molt.apps.cli.asking import confirm
from molt.apps.cli.client import at, connect, pick
from molt.apps.cli.options import Expected, Json, Reason, Rollout, Token, Url, Yes
from molt.apps.cli.predictions import saved_prediction
from molt.apps.cli.show import changed


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (start, ask, approve, promote, pause, resume, rollback, abort, note):
        app.command()(command)


def _command(
    verb: str,
    connection: tuple[str | None, str | None],
    rollout: str | None,
    body: dict[str, Any],
    as_json: bool,
) -> None:
    """Ask for `verb` on the rollout that is meant, and show where that led."""
    with connect(*connection) as api:
        changed(api.post(at("rollouts", pick(api, rollout), verb), body), as_json)


def start(
    playbook: Annotated[
        str | None,
        typer.Argument(
            metavar="[PLAYBOOK]",
            help="A shipped name or a file; default: that of ./molt.yaml, else wf-11.",
            show_default=False,
        ),
    ] = None,
    rollout: Annotated[
        str | None,
        typer.Option(
            "--rollout", "-r", "--id", metavar="ID", help="Its id; default: the playbook's name."
        ),
    ] = None,
    salt: Annotated[
        str | None,
        typer.Option("--salt", help="Assignment salt, to keep subjects where they were."),
    ] = None,
    waive: Annotated[
        list[str] | None,
        typer.Option(
            "--waive", metavar="ITEM", help="Skip a checklist item, or `all`; needs --reason."
        ),
    ] = None,
    prediction: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Keep this prediction, which `molt plan --save` wrote, for the retrospective.",
        ),
    ] = None,
    reason: Reason = "",
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Start a rollout of a playbook.

    It begins in the playbook's first phase, which is shadow unless the playbook has none. A file
    is checked here first.
    """
    body: dict[str, Any] = {
        **plan(playbook or configured.playbook()),
        "rollout": rollout,
        "salt": salt,
        "reason": reason,
        "waive": waive or None,
        "prediction": saved_prediction(prediction) if prediction else None,
    }
    with connect(url, token) as api:
        changed(api.post("/rollouts", body), as_json)


def plan(name_or_path: str) -> dict[str, str]:
    """The plan as the API takes it: a shipped name, or the text of a file that is in order."""
    from molt.adapters.playbooks import load_playbook, shipped

    if name_or_path in shipped():
        return {"playbook": name_or_path}
    load_playbook(name_or_path)
    return {"playbook_yaml": Path(name_or_path).read_text(encoding="utf-8-sig")}


def ask(
    rollout: Rollout = None,
    reason: Reason = "",
    expected_version: Expected = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Ask somebody else to approve the step.

    Molt asks by itself once all other gates have passed. Whoever asked cannot approve.
    """
    body = {"reason": reason, "expected_version": expected_version}
    _command("ask", (url, token), rollout, body, as_json)


def approve(
    rollout: Rollout = None,
    reason: Reason = "",
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest",
            metavar="HEX",
            help="Of the request that you saw (`approval.digest` of `molt status --json`); "
            "refused when another evidence is asked about by now.",
        ),
    ] = None,
    expected_version: Expected = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Approve leaving the present step.

    Taken only when its hold is over and all other gates have passed; else exit code 1 says what
    is still open. Nobody approves what they asked for, nor a climb that they began.
    """
    body = {"reason": reason, "expected_version": expected_version, "digest": digest}
    _command("approve", (url, token), rollout, body, as_json)


def promote(
    rollout: Rollout = None,
    reason: Reason = "",
    expected_version: Expected = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Go on ahead of the planned pace.

    Never before the step's minimum hold, nor past a gate that failed.
    """
    body = {"reason": reason, "expected_version": expected_version}
    _command("promote", (url, token), rollout, body, as_json)


def pause(
    rollout: Rollout = None,
    reason: Reason = "",
    expected_version: Expected = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Stop the climb at the present share.

    Triggers stay live.
    """
    body = {"reason": reason, "expected_version": expected_version}
    _command("pause", (url, token), rollout, body, as_json)


def resume(
    rollout: Rollout = None,
    phase: Annotated[
        Literal["shadow", "canary", "progressive"] | None,
        typer.Option("--phase", help="After a rollback: the phase to resume from."),
    ] = None,
    reason: Reason = "",
    expected_version: Expected = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Let the climb go on, with a fresh hold and a reason.

    After a rollback the phase is needed, too: nothing restarts by itself.
    """
    body = {"phase": phase, "reason": reason, "expected_version": expected_version}
    _command("resume", (url, token), rollout, body, as_json)


def rollback(
    rollout: Rollout = None,
    reason: Reason = "",
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Take all traffic back to control now.

    Opens an incident and runs the rollback procedure.
    """
    body = {"reason": reason or "asked for with molt rollback; no reason given"}
    with connect(url, token) as api:
        chosen = pick(api, rollout)
        confirm(f"Roll back {chosen} to 0% now?", yes)
        changed(api.post(at("rollouts", chosen, "rollback"), body), as_json)


def abort(
    reason: Reason,
    rollout: Rollout = None,
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """End a rollout for good.

    All traffic goes to control; the rollout cannot be resumed.
    """
    with connect(url, token) as api:
        chosen = pick(api, rollout)
        confirm(f"End {chosen} for good, with all traffic on control?", yes)
        changed(api.post(at("rollouts", chosen, "abort"), {"reason": reason}), as_json)


def note(
    text: Annotated[str, typer.Argument(help="What was noticed or changed.")],
    candidate_version: Annotated[
        str | None,
        typer.Option(
            "--candidate-version",
            metavar="V",
            help="The candidate's version after a change of prompts or tools: begins a new "
            "evidence stratum and a fresh hold.",
        ),
    ] = None,
    rollout: Rollout = None,
    expected_version: Expected = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Record a remark or a changed candidate."""
    body = {
        "text": text,
        "candidate_version": candidate_version,
        "expected_version": expected_version,
    }
    _command("notes", (url, token), rollout, body, as_json)

"""`molt serve` and `molt init`."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from molt.core.errors import OperatorError

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="MOLT_CONFIG", help="Default: molt.yaml here, if there is one."
    ),
]


def serve(
    config: Config = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object when everything is ready.")
    ] = False,
    until_stdin_ends: Annotated[
        bool,
        typer.Option(
            "--until-stdin-ends",
            help="End, too, when standard input ends: for a program that starts Molt through a "
            "pipe, so that Molt does not outlive it.",
        ),
    ] = False,
) -> None:
    """Run Molt in front of your two services: control and the gateway workers, supervised."""
    from molt.apps.serve.logs import configure_logs
    from molt.apps.settings import load_settings

    path = config or _here()
    settings = load_settings(path, os.environ)
    configure_logs(settings.log_level)
    warn_of_plan(path, settings)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(path, settings, as_json, until_stdin_ends))


def _here() -> Path | None:
    path = Path("molt.yaml")
    return path if path.exists() else None


def warn_of_plan(path: Path | None, settings: Any) -> None:
    """Say now that `molt start` would refuse the plan. Rollouts under way do not need the file."""
    from molt.adapters.playbooks import load_playbook

    beside = (path.parent if path else Path()) / settings.playbook
    try:
        load_playbook(str(beside) if beside.is_file() else settings.playbook)
    except OperatorError as error:
        print(f"molt: `molt start` will refuse the playbook: {error}", file=sys.stderr)


async def _serve(path: Path | None, settings: Any, as_json: bool, watched: bool) -> None:
    from molt.apps.serve.installation import Installation
    from molt.apps.serve.lifetime import orphaned

    installation = Installation(path, settings, os.environ)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    watching = asyncio.create_task(orphaned(stopped.set)) if watched else None
    await installation.start()
    _announce(installation, as_json)
    try:
        await stopped.wait()
    finally:
        if watching:
            watching.cancel()
        await installation.stop()


def _announce(installation: Any, as_json: bool) -> None:
    ready = installation.ready()
    if as_json:
        print(json.dumps(ready), flush=True)
        return
    console = Console()
    addresses = {
        "gateway, for your users": ready["gateway"],
        "models and tools of your agent": ready["egress"],
        "control API": f"{ready['api']}, described at {ready['api']}/docs",
        "console": ready["console"],
    }
    console.print("Molt is ready.")
    for what, where in addresses.items():
        if where:
            console.print(f"  {what + ':':<31} {where}", soft_wrap=True)
    if ready["token"]:
        console.print(
            "\nThis token for the administrator is shown once; only its hash is kept:\n\n"
            f"  export MOLT_URL={ready['api']} MOLT_TOKEN={ready['token']}\n",
            soft_wrap=True,
            highlight=False,
        )
    console.print("Begin with: molt start      Stop with Ctrl-C")


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write.", file_okay=False)] = Path(),
    force: Annotated[bool, typer.Option(help="Overwrite files that are there.")] = False,
) -> None:
    """Write a commented molt.yaml and a copy of the WF-11 playbook."""
    from molt.adapters.playbooks import shipped_text

    template = files("molt.apps.serve") / "templates" / "molt.yaml"
    texts = {
        "molt.yaml": template.read_text(encoding="utf-8"),
        "playbook.yaml": shipped_text("wf-11"),
    }
    there = [name for name in texts if (folder / name).exists()]
    if there and not force:
        raise OperatorError(f"{', '.join(there)} in {folder}: there already; --force overwrites")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        typer.echo(f"wrote {folder / name}")
    typer.echo("Put your two URLs into molt.yaml, then: molt serve")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(serve)
    app.command()(init)

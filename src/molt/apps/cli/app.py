"""The root command: which commands there are, loaded when used, and how errors end."""

import sys
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_group

from molt import __version__
from molt.apps.cli.exits import MEANINGS, NOT_HELD, exit_code
from molt.apps.cli.show import printable
from molt.core.errors import MoltError

RUN = "Set up and run"
ROLLOUT = "Rollout"
FACTS = "Traffic and facts"
RECORD = "Record"
INSTALLATION = "Installation"


class Entry(NamedTuple):
    """A command by name, the module whose `register(app)` brings it, and its line in the help."""

    name: str
    module: str
    panel: str
    help: str


COMMANDS: Final = (
    Entry("demo", "molt.apps.demo.cli", RUN, "Show a whole rollout live on a reference bar."),
    Entry("init", "molt.apps.serve.cli", RUN, "Write a commented molt.yaml and a playbook."),
    Entry("serve", "molt.apps.serve.cli", RUN, "Run Molt in front of your two services."),
    Entry("playbook", "molt.apps.cli.playbooks", RUN, "Show, check and list playbooks."),
    Entry(
        "preflight", "molt.apps.cli.preflight", RUN, "Run the monitoring checklist of a playbook."
    ),
    Entry("simulate", "molt.apps.simulate.cli", RUN, "Play a rollout through before it happens."),
    Entry("plan", "molt.apps.simulate.planner_cli", RUN, "Say what a plan will take and prove."),
    Entry("start", "molt.apps.cli.rollouts", ROLLOUT, "Start a rollout of a playbook."),
    Entry("status", "molt.apps.cli.status", ROLLOUT, "Show where a rollout is and why."),
    Entry("ask", "molt.apps.cli.rollouts", ROLLOUT, "Ask somebody else to approve the step."),
    Entry("approve", "molt.apps.cli.rollouts", ROLLOUT, "Approve leaving the present step."),
    Entry("promote", "molt.apps.cli.rollouts", ROLLOUT, "Go on ahead of the planned pace."),
    Entry("pause", "molt.apps.cli.rollouts", ROLLOUT, "Stop the climb at the present share."),
    Entry(
        "resume",
        "molt.apps.cli.rollouts",
        ROLLOUT,
        "Let the climb go on, with a fresh hold and a reason.",
    ),
    Entry("rollback", "molt.apps.cli.rollouts", ROLLOUT, "Take all traffic back to control now."),
    Entry("abort", "molt.apps.cli.rollouts", ROLLOUT, "End a rollout for good."),
    Entry("note", "molt.apps.cli.rollouts", ROLLOUT, "Record a remark or a changed candidate."),
    Entry("flags", "molt.apps.cli.facts", FACTS, "Show the flags that decide every request."),
    Entry("assign", "molt.apps.cli.assigning", FACTS, "Say which arm a subject gets, and why."),
    Entry("outcome", "molt.apps.cli.outcomes", FACTS, "Report business events of subjects."),
    Entry("report", "molt.apps.cli.report", FACTS, "Compare the agent with the existing system."),
    Entry("shadow", "molt.apps.cli.shadow", RECORD, "Compare the agent's answers in shadow."),
    Entry("history", "molt.apps.cli.history", RECORD, "Show the event log of a rollout."),
    Entry("replay", "molt.apps.simulate.replay_cli", RECORD, "Decide again on what was recorded."),
    Entry("incident", "molt.apps.cli.incidents", RECORD, "List, show, note and close incidents."),
    Entry(
        "retro", "molt.apps.cli.after", RECORD, "Write the retrospective of a rollout from its log."
    ),
    Entry(
        "tasks", "molt.apps.cli.after", RECORD, "List, assign and sign what is to do afterwards."
    ),
    Entry("alerts", "molt.apps.cli.alerts", RECORD, "List alerts; write rules for Prometheus."),
    Entry("ack", "molt.apps.cli.alerts", RECORD, "Acknowledge an alert: you are on it."),
    Entry(
        "runbook",
        "molt.apps.cli.alerts",
        RECORD,
        "Write or check the on-call runbook of a playbook, with the budget of ./molt.yaml.",
    ),
    Entry("audit", "molt.apps.cli.audit", RECORD, "Export and verify the audit log."),
    Entry(
        "cleanup", "molt.apps.cli.cleanup", RECORD, "Find flags and shadow-mode code that can go."
    ),
    Entry("token", "molt.apps.cli.tokens", INSTALLATION, "Add, list and revoke API tokens."),
    Entry("dashboards", "molt.apps.cli.alerts", INSTALLATION, "Write dashboards for other tools."),
    Entry("version", "molt.apps.cli.about", INSTALLATION, "Show the version."),
)


class _Later(TyperCommand):
    """Stands for a command in help and completion until it is used."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, help=entry.help, rich_help_panel=entry.panel)
        self._entry = entry

    def load(self) -> Any:
        """The real command; imports its module."""
        app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        import_module(self._entry.module).register(app)
        return get_group(app).commands[self._entry.name]


class Root(TyperGroup):
    """Loads a command when it is used, and turns every error into one line and an exit code."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for entry in COMMANDS:
            self.add_command(_Later(entry))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that `args` name, loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, _Later) else command, rest

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run; with `standalone_mode` raises SystemExit with the exit code."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            code = super().main(*args, standalone_mode=False, **extra)
        except (MoltError, OSError, TyperException, typer.Abort) as error:
            code = _report(error)
        sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception) -> int:
    """Print what was wrong on standard error, and give the exit code."""
    if isinstance(error, typer.Abort):
        typer.echo("molt: nothing was done", err=True)
        return NOT_HELD
    if isinstance(error, TyperException):
        return _report_usage(error)
    text = str(error)
    if isinstance(error, OSError):
        text = f"{error.filename or 'input or output'}: {error.strerror or error}"
    typer.echo(f"molt: {printable(text)}", err=True)
    return exit_code(error)


def _report_usage(error: TyperException) -> int:
    message = error.format_message()
    context: Any = getattr(error, "ctx", None)
    if message:  # empty when the help was printed instead
        hint = f"; see: {context.command_path} --help" if context else ""
        typer.echo(f"molt: {message.rstrip('.')}{hint}", err=True)
    return error.exit_code


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"molt {__version__}")
        raise typer.Exit


EPILOG = "\n\n".join(["**Exit codes**", *(f"* {code}: {text}" for code, text in MEANINGS.items())])

app = typer.Typer(
    cls=Root,
    name="molt",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    epilog=EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", help="Show the version.", callback=_show_version, is_eager=True
    ),
) -> None:
    """Rolls AI agents out safely: shadow, canary, progressive, and back within a second."""

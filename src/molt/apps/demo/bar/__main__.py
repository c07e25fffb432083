"""Starts one service of the reference bar: `python -m molt.apps.demo.bar SERVICE --port P --data DIR`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from molt.core.errors import OperatorError


def main(argv: Sequence[str] | None = None) -> None:
    """Run the service that `argv` names until SIGTERM."""
    options = _parser().parse_args(argv)
    options.data.mkdir(parents=True, exist_ok=True)
    services: dict[str, Callable[[argparse.Namespace], None]] = {
        "existing-system": _existing_system,
        "bar-tools": _bar_tools,
        "agent-model": _agent_model,
        "agent-chat": _agent_chat,
    }
    try:
        services[options.service](options)
    except OperatorError as error:
        sys.exit(f"{options.service}: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m molt.apps.demo.bar", description=__doc__)
    services = parser.add_subparsers(dest="service", required=True)
    parsers = {
        "existing-system": services.add_parser(
            "existing-system", help="the rule-based order service"
        ),
        "bar-tools": services.add_parser("bar-tools", help="the MCP tool server"),
        "agent-model": services.add_parser(
            "agent-model", help="the agent's model as an OpenAI-compatible provider, offline"
        ),
        "agent-chat": services.add_parser("agent-chat", help="the agent service"),
    }
    for parser_of_one in parsers.values():
        parser_of_one.add_argument("--host", default="127.0.0.1")
        parser_of_one.add_argument("--port", type=int, default=0, help="0 takes a free port")
        parser_of_one.add_argument(
            "--until-stdin-ends", action="store_true", help="end, too, when standard input ends"
        )
        parser_of_one.add_argument(
            "--data", type=Path, default=Path("bar-data"), help="directory of databases"
        )
    for name in ("existing-system", "agent-model", "agent-chat"):
        parsers[name].add_argument(
            "--latency-ms", type=float, default=30.0, help="median of a simulated delay"
        )
    agent = parsers["agent-chat"]
    agent.add_argument(
        "--tools", required=True, help="URL of bar-tools, such as http://127.0.0.1:9000/mcp"
    )
    agent.add_argument("--version", default="1", help="sent as x-agent-version with each answer")
    agent.add_argument(
        "--session-ttl", type=float, default=1800.0, help="seconds an idle conversation is kept"
    )
    agent.add_argument(
        "--most-runs", type=int, default=64, help="worked on at once; more get a 503"
    )
    agent.add_argument(
        "--ignore-shadow", action="store_true", help="execute writes in shadow mode too"
    )
    agent.add_argument(
        "--tools-know-shadow",
        action="store_true",
        help="leave dry runs to the tools: they are reached through Molt",
    )
    agent.add_argument(
        "--remembered", type=int, default=20, help="messages that a real model is shown again"
    )
    agent.add_argument("--allow-faults", action="store_true", help="accept POST /_fault")
    return parser


def _existing_system(options: argparse.Namespace) -> None:
    from molt.apps.demo.bar.existing import ExistingSystem
    from molt.apps.demo.bar.serving import Latency, serve

    app = ExistingSystem(options.data / "existing-system.db", Latency(options.latency_ms))
    serve(app, "existing-system", options)


def _bar_tools(options: argparse.Namespace) -> None:
    from molt.apps.demo.bar.serving import serve
    from molt.apps.demo.bar.tool_server import BarTools

    tools = BarTools(options.data / "bar-tools.db", os.environ.get("BAR_TOOLS_KEY", ""))
    try:
        serve(tools.app(), "bar-tools", options)
    finally:
        tools.close()


def _agent_model(options: argparse.Namespace) -> None:
    from molt.apps.demo.bar.model_service import ModelService
    from molt.apps.demo.bar.serving import Latency, keyed, serve

    service = ModelService(Latency(options.latency_ms))
    app = keyed(service.app(), os.environ.get("BAR_MODEL_KEY", ""))
    serve(app, "agent-model", options)


def _agent_chat(options: argparse.Namespace) -> None:
    from molt.apps.demo.bar.agent_service import agent_chat
    from molt.apps.demo.bar.agent_settings import AgentSettings
    from molt.apps.demo.bar.serving import serve

    settings = AgentSettings.from_environment(
        tools_url=options.tools,
        version=options.version,
        latency_ms=options.latency_ms,
        session_ttl=options.session_ttl,
        most_runs=options.most_runs,
        ignore_shadow=options.ignore_shadow,
        tools_know_shadow=options.tools_know_shadow,
        allow_faults=options.allow_faults,
        remembered=options.remembered,
    )
    serve(agent_chat(settings), "agent-chat", options)


if __name__ == "__main__":
    main()

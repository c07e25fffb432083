"""One installation as processes: control, then gateways that are told where it is."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from molt.apps.serve.gateway_settings import write_gateway_settings
from molt.apps.serve.keys import load_keys
from molt.apps.serve.supervisor import Program, Supervisor
from molt.apps.settings import Settings


def fixed(address: str) -> str:
    """`HOST:PORT` with port 0 replaced by one that was free a moment ago."""
    host, _, port = address.rpartition(":")
    if port != "0":
        return address
    bare = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET) as sock:
        sock.bind((bare, 0))
        return f"{host}:{sock.getsockname()[1]}"


class Installation:
    """Starts and stops what `molt serve` runs."""

    def __init__(self, path: Path | None, settings: Settings, environ: Mapping[str, str]) -> None:
        self.settings = settings.model_copy(
            update={"listen": fixed(settings.listen), "api": fixed(settings.api)}
        )
        self.settings.data.mkdir(parents=True, exist_ok=True)
        keys = load_keys(self.settings.data)
        config = ["--config", str(path)] if path else []
        control = Program("control", ["-m", "molt.apps.serve.control_process", *config])
        gateways = [
            Program(
                f"gateway-{number}",
                [
                    "-m",
                    "molt.apps.serve.gateway_process",
                    "--settings",
                    str(write_gateway_settings(self.settings, keys, number)),
                ],
            )
            for number in range(1, self.settings.workers + 1)
        ]
        self.supervisor = Supervisor(
            [control, *gateways], {**environ, "MOLT_API": self.settings.api}
        )

    async def start(self) -> None:
        """Start everything. Raises `OperatorError`."""
        await self.supervisor.start()

    async def stop(self) -> None:
        """Stop everything, gateways first."""
        await self.supervisor.stop()

    def ready(self) -> dict[str, Any]:
        """Where everything is: URLs, the first token if this is the first start, process ids."""
        scheme = "https" if self.settings.tls else "http"
        control, *gateways = self.supervisor.children
        return {
            "gateway": f"{scheme}://{self.settings.listen}",
            "api": f"http://{self.settings.api}",
            "token": control.ready.get("token"),
            "control_pid": control.process.pid if control.process else None,
            "gateway_pids": [g.process.pid for g in gateways if g.process],
            "supervisor_pid": os.getpid(),
        }

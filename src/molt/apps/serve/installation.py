"""One installation as processes: control, then egress and gateways that are told where it is."""

import fcntl
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from molt.apps.serve.egress_settings import write_egress_settings
from molt.apps.serve.gateway_settings import write_gateway_settings
from molt.apps.serve.keys import load_keys
from molt.apps.serve.supervisor import Program, Supervisor
from molt.apps.settings import Settings
from molt.core.errors import OperatorError


def fixed(address: str) -> str:
    """`HOST:PORT` with port 0 replaced by one that was free a moment ago."""
    host, _, port = address.rpartition(":")
    if port != "0":
        return address
    bare = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET) as sock:
        sock.bind((bare, 0))
        return f"{host}:{sock.getsockname()[1]}"


def refuse_taken(address: str) -> None:
    """Raises `OperatorError` when somebody listens there already.

    Gateway workers share their port (SO_REUSEPORT): beside another Molt they would start without a
    word, and the kernel would give each of the two a part of the users.
    """
    host, _, port = address.rpartition(":")
    bare = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((bare, int(port)))
        except OSError as error:
            raise OperatorError(
                f"Cannot listen on {address}: {error.strerror or error}. Stop what holds it, or set "
                "another address"
            ) from None


def take(data: Path) -> int:
    """Molt's data directory for this process alone, until the handle is closed or the process ends.

    A new one is closed to other users of the machine. A second `molt serve` would overwrite what
    the first one's processes are started again with. Raises `OperatorError`.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o750)
    handle = os.open(data / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise OperatorError(
            f"Another `molt serve` runs on {data}. Stop it, or set another `data`"
        ) from None
    return handle


def _at_fixed_addresses(settings: Settings) -> Settings:
    changes: dict[str, Any] = {"listen": fixed(settings.listen), "api": fixed(settings.api)}
    if (egress := settings.egress) is not None:
        changes["egress"] = egress.model_copy(update={"listen": fixed(egress.listen)})
    return settings.model_copy(update=changes)


class Installation:
    """Starts and stops what `molt serve` runs."""

    def __init__(self, path: Path | None, settings: Settings, environ: Mapping[str, str]) -> None:
        self.settings = _at_fixed_addresses(settings)
        self._taken = take(self.settings.data)
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
        egress: list[Program] = []
        if self.settings.egress is not None:
            written = write_egress_settings(self.settings, self.settings.egress, keys, environ)
            arguments = ["-m", "molt.apps.serve.egress_process", "--settings", str(written)]
            egress.append(Program("egress", arguments))
        self.supervisor = Supervisor(
            [control, *egress, *gateways], {**environ, "MOLT_API": self.settings.api}
        )

    async def start(self) -> None:
        """Start everything. Raises `OperatorError`."""
        refuse_taken(self.settings.listen)
        await self.supervisor.start()

    async def stop(self) -> None:
        """Stop everything, gateways first."""
        await self.supervisor.stop()
        os.close(self._taken)

    def ready(self) -> dict[str, Any]:
        """Where everything is: URLs, the first token if this is the first start, process ids."""
        scheme = "https" if self.settings.tls else "http"
        by_name = {child.program.name: child for child in self.supervisor.children}
        control, egress = by_name.pop("control"), by_name.pop("egress", None)
        gateways = list(by_name.values())
        return {
            "gateway": f"{scheme}://{self.settings.listen}",
            "api": f"http://{self.settings.api}",
            "console": f"{self.settings.public_api}/console",
            "egress": f"http://{self.settings.egress.listen}" if self.settings.egress else None,
            "token": control.ready.get("token"),
            "control_pid": control.process.pid if control.process else None,
            "egress_pid": egress.process.pid if egress and egress.process else None,
            "gateway_pids": [g.process.pid for g in gateways if g.process],
            "supervisor_pid": os.getpid(),
        }

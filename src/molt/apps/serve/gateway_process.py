"""A gateway worker: the proxy in front of the two services.

`python -m molt.apps.serve.gateway_process --settings FILE`; prints one JSON line when it is ready.
SIGTERM lets what is in flight end; so does the end of standard input, when it is a pipe: then
whoever started this is gone.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from molt.adapters.audit_files import AuditWriter, SubjectHasher
from molt.adapters.clocks import SystemClock
from molt.adapters.prices import Prices
from molt.apps.serve.lifetime import orphaned
from molt.apps.serve.logs import configure_logs
from molt.core.errors import MoltError
from molt.gateway.settings import GatewaySettings
from molt.gateway.worker import Worker
from molt.link.settings_file import read_settings


async def serve(settings: GatewaySettings) -> None:
    """Run a worker until it is told to stop. Raises `OperatorError` when it cannot start."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    clock = SystemClock()
    audit = AuditWriter(
        Path(settings.audit_dir), settings.id, clock, sync_seconds=settings.sync_seconds
    )
    worker = Worker(
        settings,
        audit=audit,
        prices=Prices(settings.prices, clock),
        hash_subject=SubjectHasher(bytes.fromhex(settings.subject_key)),
    )
    await worker.start()
    _announce(settings, worker.port)
    watching = asyncio.create_task(orphaned(stopped.set))
    await stopped.wait()
    watching.cancel()
    await worker.stop()
    audit.close()


def _announce(settings: GatewaySettings, port: int) -> None:
    scheme = "https" if settings.tls else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    ready = {"gateway": settings.id, "url": f"{scheme}://{host}:{port}", "pid": os.getpid()}
    print(json.dumps(ready), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; 2 when the settings, the address or the audit log cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=Path, required=True)
    options = parser.parse_args(argv)
    try:
        settings = read_settings(options.settings, GatewaySettings)
        configure_logs(settings.log_level)
        uvloop.run(serve(settings))
    except (MoltError, OSError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

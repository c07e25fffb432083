"""The egress: the agent's way out to its models and tools. One an installation, so that what a run
has left is exact.

`python -m molt.apps.serve.egress_process --settings FILE`; prints one JSON line when it is ready.
"""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
import uvloop

from molt.adapters.audit_files import AuditWriter
from molt.adapters.clocks import SystemClock
from molt.adapters.prices import Prices
from molt.apps.serve.lifetime import Server, bind
from molt.apps.serve.logs import configure_logs
from molt.core.errors import MoltError
from molt.egress.settings import EgressSettings
from molt.egress.tool_doors import open_tool_doors
from molt.egress.worker import Egress
from molt.link.settings_file import read_settings

DRAIN_SECONDS = 10


async def serve(settings: EgressSettings) -> None:
    """Run until told to stop. Raises `OperatorError`, OSError when it cannot start."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    sock = bind(f"{host}:{settings.port}")
    clock = SystemClock()
    audit = AuditWriter(
        Path(settings.audit_dir), settings.id, clock, sync_seconds=settings.sync_seconds
    )
    egress = Egress(settings, audit=audit, prices=Prices(settings.prices, clock))
    config = uvicorn.Config(
        egress.app,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    open_tool_doors(egress)
    await egress.start()
    gc.freeze()
    try:
        url = f"http://{host}:{sock.getsockname()[1]}"
        announce = {"egress": settings.id, "url": url, "pid": os.getpid()}
        await Server(config, announce, patient=True).serve_until_told(sock)
    finally:
        await egress.stop()
        audit.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; 2 when the settings, the address or the audit log cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=Path, required=True)
    options = parser.parse_args(argv)
    try:
        settings = read_settings(options.settings, EgressSettings)
        configure_logs(settings.log_level)
        uvloop.run(serve(settings))
    except (MoltError, OSError) as error:
        print(f"egress: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

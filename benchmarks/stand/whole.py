"""The whole gateway as a contestant: identity, limit, assignment, usage, evidence, audit, tracing."""

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from molt.apps.serve.gateway_settings import BATCH_SECONDS
from molt.gateway.settings import GatewaySettings, Price, Service
from molt.link.settings_file import write_settings
from stand.contestants import Contestant, process, script


@contextmanager
def whole_gateway(
    directory: Path, upstream: int, core: int, control_core: int
) -> Iterator[Contestant]:
    """A gateway worker with all its work on, at 5%; both arms are the same upstream."""
    service = Service(f"http://127.0.0.1:{upstream}")
    with script("control.py", core=control_core) as (control, _):
        settings = GatewaySettings(
            id="bench",
            molt_url=f"http://127.0.0.1:{control}",
            gateway_key="key",
            run_key=secrets.token_hex(32),
            subject_key=secrets.token_hex(32),
            state_dir=str(directory / "state"),
            audit_dir=str(directory / "audit"),
            control=service,
            candidate=service,
            port=0,
            prices={"gpt-4o-mini": Price(0.15, 0.6)},
            batch_seconds=BATCH_SECONDS,
            log_level="warning",
        )
        path = directory / "gateway.json"
        write_settings(path, settings)
        module = "molt.apps.serve.gateway_process"
        with process([sys.executable, "-m", module, "--settings", str(path)], core) as running:
            assert running.stdout is not None
            ready = json.loads(running.stdout.readline())
            port = urlsplit(ready["url"]).port
            assert port is not None
            yield Contestant("molt", port, running.pid)

"""The egress as a contestant, and one load against whoever answers calls."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from molt.egress.settings import EgressSettings
from molt.link.settings_file import write_settings
from stand.contestants import Contestant, process, script

CORE, LOAD_CORE = 0, 1
"""The process under test has one core to itself; upstream and load share the other."""


@contextmanager
def whole_egress(directory: Path, key: str, **upstreams: Any) -> Iterator[Contestant]:
    """An egress process before `upstreams`, with a control that lets its runs act."""
    with script("control.py", core=LOAD_CORE) as (control, _):
        settings = EgressSettings(
            id="bench",
            molt_url=f"http://127.0.0.1:{control}",
            gateway_key="key",
            run_key=key,
            state_dir=str(directory / "state"),
            audit_dir=str(directory / "audit"),
            port=0,
            log_level="warning",
            **upstreams,
        )
        path = directory / "egress.json"
        write_settings(path, settings)
        module = "molt.apps.serve.egress_process"
        command = [sys.executable, "-m", module, "--settings", str(path)]
        with process(command, CORE) as running:
            assert running.stdout is not None
            port = urlsplit(json.loads(running.stdout.readline())["url"]).port
            assert port is not None
            yield Contestant("molt", port, running.pid)


def measured(contestant: Contestant, load: list[str]) -> dict[str, float]:
    """What the script `load` measured against it: figures per call, in microseconds."""
    before = contestant.cpu_seconds()
    done = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), sys.executable, *load], check=True, stdout=subprocess.PIPE
    )
    used = contestant.cpu_seconds() - before
    result = json.loads(done.stdout)
    count = max(1, result["requests"])
    return {**result, "per_second": count / result["seconds"], "cpu": used * 1e6 / count}

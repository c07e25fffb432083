"""What stands between load and upstream: nothing, nginx, the bare proxy, the whole gateway."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, create_connection, socket

STAND = Path(__file__).parent
# The part of the gateway's work that stock nginx can do: which agent (path), which arm (hash of the
# user), a limit per user, a trace begun, the arm named in the answer, keep-alive to the upstream, and
# one record a request with all of these. It does not read bodies (who asks, tokens, tools), keep
# conversations on their arm, add up evidence, hide users behind keyed hashes, or chain its log.
NGINX_CONF = """
worker_processes 1; daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  log_format all '$remote_addr [$time_iso8601] "$request" $status $body_bytes_sent $request_time '
                 '$upstream_response_time $agent $arm $http_x_user_id $http_x_session_id $request_id';
  access_log {dir}/access.log all{buffered};
  keepalive_requests 1000000000;
  split_clients "${{http_x_user_id}}" $arm {{ 5% candidate; * control; }}
  map $uri $agent {{ "~^/agents/(?<named>[^/]+)/" $named; default -; }}
  map $request_id $span {{ "~^(?<half>.{{16}})" $half; }}
  limit_req_zone $http_x_user_id zone=users:32m rate=16000r/s;
  upstream control {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  upstream candidate {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://$arm; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
      proxy_set_header traceparent "00-$request_id-$span-01";
      add_header x-molt-arm $arm;
      limit_req zone=users burst=1000 nodelay;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Contestant:
    """A running server under test. `pid` is None where nothing runs in between."""

    name: str
    port: int
    pid: int | None

    def cpu_seconds(self) -> float:
        """CPU time of all threads so far, user and system, as the scheduler counts it."""
        if self.pid is None:
            return 0.0
        total = 0
        for stat in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            total += int(stat.read_text().split()[0])
        return total / 1e9


@contextmanager
def process(command: list[str], core: int) -> Iterator[subprocess.Popen[str]]:
    """A process pinned to one core, ended at exit."""
    pipe = subprocess.PIPE  # a gateway whose standard input ends takes itself for orphaned
    running = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    os.sched_setaffinity(running.pid, {core})
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def script(name: str, *arguments: str, core: int) -> Iterator[tuple[int, int]]:
    """A script of this folder that prints its port first: `(port, pid)`."""
    with process([sys.executable, str(STAND / name), *arguments], core) as running:
        assert running.stdout is not None
        yield int(running.stdout.readline()), running.pid


@contextmanager
def nginx(directory: Path, upstream: int, core: int, *, buffered: bool) -> Iterator[Contestant]:
    """Debian's nginx: proxy_pass, access log, hash split, limit per user, trace."""
    port = free_port()
    directory.mkdir()
    flags = " buffer=64k flush=1s" if buffered else ""
    conf = NGINX_CONF.format(dir=directory, upstream=upstream, port=port, buffered=flags)
    (directory / "nginx.conf").write_text(conf)
    command = [find_nginx() or "nginx", "-c", str(directory / "nginx.conf"), "-p", str(directory)]
    with process(command, core) as running:
        wait_for(port)
        yield Contestant("nginx, log buffered" if buffered else "nginx", port, running.pid)


def find_nginx() -> str | None:
    """Where nginx is, if it is installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket(AF_INET, SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, seconds: float = 10.0) -> None:
    """Return when `port` accepts connections."""
    end = time.monotonic() + seconds
    while True:
        try:
            create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)

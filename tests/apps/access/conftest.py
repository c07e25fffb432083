"""The control API on a real port, a browser's side of it, and a real identity provider."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.apps.cli.conftest import TOKENS, Server

from molt.apps.access.rules import Rules
from molt.apps.settings import Oidc


class Browser:
    """Keeps cookies and says where its requests come from, as browsers do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=20)

    def sign_in(self, role: str, next_page: str = "/console") -> httpx.Response:
        """Sign in with the token of `role`."""
        return self.post("/console/login", {"token": TOKENS[role], "next": next_page}, csrf="")

    @property
    def csrf(self) -> str:
        """The CSRF token that pages put into their forms."""
        return self.http.get("/api/v1/me").json()["csrf"]

    def post(
        self, path: str, form: dict[str, str], *, csrf: str | None = None, **headers: str
    ) -> httpx.Response:
        """Send a form of a page of this site."""
        token = self.csrf if csrf is None else csrf
        fields = form | ({"csrf_token": token} if token else {})
        return self.http.post(path, data=fields, headers={"origin": self.url, **headers})

    def signed_in(self) -> bool:
        """Whether the API knows who this is."""
        return self.http.get("/api/v1/me").status_code == 200


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    running = Server(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def browser(server: Server) -> Iterator[Browser]:
    one = Browser(server.url)
    yield one
    one.http.close()


@pytest.fixture
def other(server: Server) -> Iterator[Browser]:
    """A second browser, of another person."""
    one = Browser(server.url)
    yield one
    one.http.close()


PROVIDER = """
import sys
from oidc_provider_mock import User, run_server_in_thread

users = (
    User(sub="1", claims={"email": "ann@bar.example", "groups": ["engineers", "leads"]}),
    User(sub="2", claims={"email": "bob@bar.example", "groups": ["guests"]}),
    User(sub="3", claims={"email": "eve@bar.example", "email_verified": False, "groups": ["leads"]}),
)
with run_server_in_thread(user_claims=users, require_nonce=True) as running:
    print(f"http://localhost:{running.server_port}", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def provider_url() -> Iterator[str]:
    """A real OpenID Connect provider in a process of its own, on a free port."""
    command = [sys.executable, "-W", "ignore", "-c", PROVIDER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@pytest.fixture
def provided(server: Server, provider_url: str) -> Server:
    """The server, with people of the provider let in by their groups."""
    config = Oidc(
        issuer=provider_url,
        client_id="molt",
        client_secret="s:e/cret",
        roles={"operator": ("engineers",), "approver": ("leads",)},
    )
    server.app.state.rules = Rules(public_url=server.url, oidc=config, key=b"k" * 32)
    return server


def audit_of(server: Server) -> list[dict[str, Any]]:
    """The audit log of control, as written."""
    server.call(_flush(server))
    lines = [
        line
        for path in sorted((server.folder / "audit").rglob("*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]
    return [json.loads(line) for line in lines]


async def _flush(server: Server) -> None:
    server.audit.flush(None)


def acts(server: Server) -> list[tuple[str, str, int]]:
    """(act, by, status) of what is on record of people."""
    return [(r["act"], r["by"], r["status"]) for r in audit_of(server) if r["kind"] == "access"]

"""The console and the command line by https, as people reach them behind something that ends TLS."""

import asyncio
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.e2e.conftest import Molt
from tests.e2e.people import PATIENCE, chrome
from tests.wire.test_tls import Authority

from molt.apps.console import build

__all__ = ["chrome"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not build.is_built(), reason="console assets are not built: make console"),
]

NOBODY = "http://127.0.0.1:9"


class Terminator:
    """Ends TLS on a free port and passes every byte on, as nginx and load balancers do."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate, key)
        self.target, self.url, self._ready = "", "", threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, ssl=self._tls)
        self.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to = urlsplit(self.target)
        inner_reader, inner_writer = await asyncio.open_connection(to.hostname, to.port)
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError), closing(writer):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def molt(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Molt]:
    terminator = Terminator(*authority.issue("console"))
    folder = tmp_path_factory.mktemp("https")
    running = Molt(folder, NOBODY, NOBODY, api_url=terminator.url)
    terminator.target = running.api
    try:
        yield running
    finally:
        running.stop()
        terminator.stop()


def signed_in(chrome: Browser, molt: Molt) -> Page:
    """The console in a browser of its own."""
    public = molt.serve.ready["console"].removesuffix("/console")
    page = chrome.new_context(base_url=public, ignore_https_errors=True).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto("/console/login")
    page.get_by_label("API token").fill(molt.token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console")
    return page


def test_whoever_signs_out_everywhere_is_signed_out_in_the_other_browser_too(
    molt: Molt, chrome: Browser
) -> None:
    here, there = signed_in(chrome, molt), signed_in(chrome, molt)
    there.goto("/console/monitoring")
    expect(there.locator("#connection")).to_have_text("live")

    here.get_by_role("button", name="admin").click()
    here.get_by_role("button", name="Sign out everywhere").click()

    here.wait_for_url("**/console/login")
    there.wait_for_url("**/console/login?next=/console/monitoring")
    for page in (here, there):
        page.context.close()


def test_the_session_of_a_browser_by_https_is_of_no_use_to_scripts_and_other_sites(
    molt: Molt, chrome: Browser
) -> None:
    console = molt.serve.ready["console"]
    public = console.removesuffix("/console")
    page = signed_in(chrome, molt)
    context = page.context

    (cookie,) = context.cookies()
    assert cookie["name"] == "__Host-molt"
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    assert page.evaluate("document.cookie") == ""

    elsewhere = context.new_page()
    form = f"<form method=post action='{public}/console/logout'><button>win</button></form>"
    elsewhere.set_content(form)
    with elsewhere.expect_response(lambda r: r.request.method == "POST") as answered:
        elsewhere.get_by_role("button").click()
    assert answered.value.status in (401, 403)
    page.reload()
    assert page.url.startswith(console)
    assert "login" not in page.url
    context.close()


def test_a_form_with_the_cookie_but_without_proof_is_refused_by_https_too(
    molt: Molt, authority: Authority
) -> None:
    public = molt.serve.ready["console"].removesuffix("/console")
    trust = ssl.create_default_context(cafile=authority.path)
    with httpx.Client(base_url=public, verify=trust, trust_env=False) as http:
        signed_in = http.post(
            "/console/login", data={"token": molt.token}, headers={"origin": public}
        )
        assert signed_in.headers["set-cookie"].startswith("__Host-molt=")
        assert http.get("/api/v1/me").json()["via"] == "session"
        for origin in (public, "https://elsewhere.example"):
            assert http.post("/console/logout", headers={"origin": origin}).status_code == 403
        assert http.get("/api/v1/me").status_code == 200


def test_the_command_line_trusts_the_authority_that_it_is_told(
    molt: Molt, authority: Authority
) -> None:
    """Where the API is comes from molt.yaml, as for whoever sits beside it."""

    def status(**environ: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MOLT", "SSL_CERT"))}
        return subprocess.run(
            [sys.executable, "-m", "molt.apps.cli", "flags"],
            env=clean | {"MOLT_CONFIG": str(molt.path), "MOLT_TOKEN": molt.token, **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    unknown = status()
    assert (unknown.returncode, "SSL_CERT_FILE=ca.pem" in unknown.stderr) == (3, True)
    told = status(SSL_CERT_FILE=str(authority.path))
    assert told.returncode == 0, told.stderr

"""The MCP inspector's command line and the reference server from npm, through Molt, in every mode."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from molt.core.policy import ToolPolicy
from molt.egress.settings import ToolService

from .tools_world import House

WANTED = Path(__file__).parent / "npm" / "package.json"
POLICY = ToolPolicy(
    allow=("echo", "get-*", "trigger-*"),
    deny=("get-env",),
    arguments={"get-sum": ("a <= 20", "b <= 20")},
    writes=("get-structured-content",),
)


@pytest.fixture(scope="session")
def npm() -> Path:
    """The folder of installed commands, outside of the repository; skips where it cannot be had."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    version = hashlib.sha256(WANTED.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "molt-tests" / f"npm-{version}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(WANTED, folder)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110)
        if done.returncode:
            pytest.skip(f"npm cannot install the inspector: {done.stderr.strip()[-200:]}")
        (folder / "complete").touch()
    return folder / "node_modules" / ".bin"


@contextlib.asynccontextmanager
async def everything(npm: Path) -> AsyncIterator[House]:
    """A house in front of the reference server."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        npm / "mcp-server-everything",
        "streamableHttp",
        env={**os.environ, "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        while b"listening" not in (line := await asyncio.wait_for(process.stderr.readline(), 30)):
            assert line, "the server ended"
        house = House()
        house.say(POLICY)
        async with house.open(ToolService("shop", f"http://127.0.0.1:{port}/mcp")):
            yield house
    finally:
        process.kill()
        await process.wait()


async def inspect(npm: Path, house: House, token: str, *arguments: str) -> dict[str, Any]:
    """What the inspector's command line prints."""
    process = await asyncio.create_subprocess_exec(
        npm / "mcp-inspector",
        *("--cli", f"{house.url}/mcp/shop", "--transport", "http"),
        *("--header", f"x-molt-run: {token}", "--method", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return json.loads(out or err)


def call(tool: str, *pairs: str) -> tuple[str, ...]:
    given = ("--tool-arg", *pairs) if pairs else ()
    return ("tools/call", "--tool-name", tool, *given)


async def test_the_inspector_in_every_mode(npm: Path):
    async with everything(npm) as house:
        live, spent = house.token(), house.token()
        headers = {"x-molt-run": spent}
        async with Client(StreamableHttpTransport(f"{house.url}/mcp/shop", headers)) as client:
            for number in range(10):
                await client.call_tool("get-sum", {"a": number, "b": 1})
        # The inspector calls only what it has been shown, so it is another client that oversteps.
        async with Client(
            StreamableHttpTransport(f"{house.url}/mcp/shop", {"x-molt-run": live})
        ) as client:
            forbidden = await client.call_tool("get-env", {}, raise_on_error=False)
        live = house.token()
        listed, allowed, over, shadow, beyond, hidden = (
            await inspect(npm, house, live, "tools/list"),
            await inspect(npm, house, live, *call("echo", "message=hello")),
            await inspect(npm, house, spent, *call("echo", "message=hello")),
            await inspect(
                npm,
                house,
                house.token("shadow"),
                *call("get-structured-content", "location=Chicago"),
            ),
            await inspect(npm, house, house.token(), *call("get-sum", "a=21", "b=1")),
            await inspect(npm, house, live, *call("get-env")),
        )
    names = {tool["name"] for tool in listed["tools"]}
    assert "echo" in names
    assert "get-env" not in names
    assert allowed["content"][0]["text"] == "Echo: hello"
    assert over["isError"]
    assert "10 tool calls" in over["content"][0]["text"]
    assert shadow["_meta"] == {"molt/dry-run": True}
    assert shadow["structuredContent"].keys() >= {"temperature", "conditions", "humidity"}
    assert "a <= 20" in beyond["content"][0]["text"]
    assert hidden["error"]["code"] == "tool_not_found"
    assert "the policy forbids get-env" in forbidden.content[0].text
    assert [report["tool"] for report in house.reports.made] == ["get-env", "get-sum"]


async def test_progress_and_other_content_of_the_reference_server_pass_unchanged(npm: Path):
    async with everything(npm) as house:
        headers = {"x-molt-run": house.token()}
        seen: list[float] = []

        async def progress(at: float, total: float | None, message: str | None) -> None:
            seen.append(at)

        async with Client(StreamableHttpTransport(f"{house.url}/mcp/shop", headers)) as client:
            await client.call_tool(
                "trigger-long-running-operation",
                {"duration": 0.2, "steps": 4},
                progress_handler=progress,
            )
            image = await client.call_tool("get-tiny-image", {})
            resources = await client.list_resources()
            prompts = await client.list_prompts()
    assert seen == [1, 2, 3, 4]
    assert image.content[1].type == "image"
    assert resources
    assert prompts

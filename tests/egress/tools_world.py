"""Tool servers, the doors in front of them, and tokens of runs: all real but control."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import uvicorn
from fastmcp import Context, FastMCP
from mcp.types import ToolAnnotations
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route as Path
from typing_extensions import TypedDict

from molt.core.evidence import Batch, Call
from molt.core.policy import ToolPolicy
from molt.egress.app import App
from molt.egress.gate import Gate
from molt.egress.journal import Journal
from molt.egress.ledger import Ledger
from molt.egress.runs import Callers
from molt.egress.settings import Route, ToolService
from molt.egress.tool_doors import open_doors
from molt.link.tokens import Run, Runs, claim

from ..gateway.world import flags

KEY = b"k" * 32
NOW = 1_800_000_000.0
POLICY = ToolPolicy(
    allow=("menu_*", "view_*", "cart_*", "place_order", "slow_*", "odd_*"),
    deny=("menu_drop",),
    arguments={"cart_add": ("quantity <= 20",)},
    read_only=("view_cart",),
)


class Line(TypedDict):
    """A line of a cart."""

    item: str
    quantity: int
    total: float


class Shop:
    """The truth about what was done, behind an MCP server and an HTTP service."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.modes: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []

    @property
    def writes(self) -> int:
        """Calls that changed something."""
        return sum(n for name, n in self.calls.items() if not name.startswith(("menu", "view")))

    def mcp(self) -> FastMCP[Any]:
        server: FastMCP[Any] = FastMCP("shop")
        reads = ToolAnnotations(read_only_hint=True)

        @server.tool(annotations=reads)
        async def menu_search(query: str, ctx: Context) -> list[str]:
            self.calls["menu_search"] += 1
            await ctx.report_progress(1, 2)
            return [f"{query} 1", f"{query} 2"]

        @server.tool(annotations=reads)
        async def menu_drop(name: str) -> str:
            self.calls["menu_drop"] += 1
            return name

        @server.tool
        async def view_cart(cart: str) -> list[Line]:
            self.calls["view_cart"] += 1
            return []

        @server.tool
        async def cart_add(item: str, quantity: int = 1) -> Line:
            self.calls["cart_add"] += 1
            return Line(item=item, quantity=quantity, total=2.5)

        @server.tool(annotations=reads)
        async def menu_ask(question: str, ctx: Context) -> str:
            answer = await ctx.elicit(question, response_type=str)
            return str(getattr(answer, "data", answer.action))

        @server.tool
        async def cart_note(text: str) -> str:
            self.calls["cart_note"] += 1
            return text

        @server.tool
        async def approve_all() -> str:
            self.calls["approve_all"] += 1
            return "done"

        return server

    def http(self) -> Starlette:
        async def answer(request: Request) -> JSONResponse:
            name = f"{request.method} {request.url.path}"
            body = await request.body()
            kind = "menu" if request.method in ("GET", "HEAD") else "write"
            self.calls[f"{kind}:{name}"] += 1
            self.headers.append(dict(request.headers))
            return JSONResponse({"did": name, "query": request.url.query, "body": body.decode()})

        methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        return Starlette(routes=[Path("/{rest:path}", answer, methods=methods)])


class Reports:
    """Stands for control: takes reports of violations."""

    def __init__(self, callers: Callers) -> None:
        self.made: list[dict[str, Any]] = []
        self._callers = callers

    async def report(self, run: Run, tool: str, **more: Any) -> bool:
        self._callers.revoke(run)
        self.made.append({"run": run.id, "agent": run.agent, "tool": tool, **more})
        return True


class Notes:
    """Stands for the batch that goes to control, and the audit log."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.records: list[Mapping[str, object]] = []

    def add_call(self, call: Call) -> None:
        self.calls.append(call)

    def append(self, record: Mapping[str, object]) -> None:
        self.records.append(record)

    def flush(self) -> None:
        return None

    def add(self, batch: Batch) -> None:
        raise NotImplementedError


class House:
    """An egress with its tool doors, at `url`."""

    def __init__(self) -> None:
        self.shop, self.done = Shop(), list[str]()
        self.callers = Callers(KEY, wall=lambda: NOW, monotonic=lambda: 0.0)
        self.ledger = Ledger()
        self.notes = Notes()
        self.journal = Journal(self.notes, self.notes)  # pyright: ignore[reportArgumentType]
        self.reports = Reports(self.callers)
        self.app = App()
        self.gate = Gate(self.callers, self.ledger, self.journal, self.reports)  # pyright: ignore[reportArgumentType]
        self.signed = Runs(KEY)
        self.url = ""
        self._http: aiohttp.ClientSession | None = None
        self.say()

    def say(self, policy: ToolPolicy = POLICY, **changes: object) -> None:
        """New flags from control."""
        version = self.callers.version + 1
        self.callers.apply(flags(version, **{"tools": {"guest": policy}, **changes}))
        self.callers.heard(0.0)

    def token(self, mode: str = "live", agent: str = "guest") -> str:
        """A token of a new run."""
        made = self.signed.token(
            self.signed.new_id(), claim("r", agent, "candidate", mode), NOW, "5ub"
        )
        return made.decode()

    def dispositions(self) -> list[tuple[str, str]]:
        return [(call.name, call.disposition) for call in self.notes.calls]

    @contextlib.asynccontextmanager
    async def open(self, *services: ToolService) -> AsyncIterator["House"]:
        async with aiohttp.ClientSession(auto_decompress=True) as http:
            open_doors(self.app, self.gate, services, lambda: http, 1 << 20)
            async with serving(self.app) as url:
                self.url = url
                yield self


@contextlib.asynccontextmanager
async def serving(app: Any, lifespan: str = "off") -> AsyncIterator[str]:
    """An ASGI application on a free port, in this event loop; its URL."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,  # pyright: ignore[reportArgumentType]
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([sock]))
    await asyncio.wait_for(server.up.wait(), 20)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task
        sock.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self):
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


Era = Callable[[Shop], Any]


def with_sessions(shop: Shop) -> Any:
    """Sessions and event streams."""
    return shop.mcp().http_app(path="/mcp")


def without_sessions(shop: Shop) -> Any:
    """Neither."""
    return shop.mcp().http_app(path="/mcp", stateless_http=True, json_response=True)


@contextlib.asynccontextmanager
async def mcp_house(era: Era = with_sessions) -> AsyncIterator[House]:
    """A house whose server `shop` is a real MCP server."""
    house = House()
    async with serving(era(house.shop), "auto") as url:
        service = ToolService("shop", f"{url}/mcp", headers={"authorization": "Bearer secret"})
        async with house.open(service):
            yield house


ORDER = {
    "type": "object",
    "properties": {"order_id": {"type": "string", "pattern": "^O-[0-9]+$"}},
    "required": ["order_id"],
}
ROUTES = (
    Route("GET", "/menu/{item}", "menu_get"),
    Route("POST", "/cart/add", "cart_add", output_schema=ORDER, status=201),
    Route("POST", "/cart/{cart}/note", "cart_note", example={"ok": True}, has_example=True),
    Route("DELETE", "/orders/{id}", "cancel_order"),
    Route("POST", "/menu/search", "menu_search"),
)


@contextlib.asynccontextmanager
async def http_house(routes: tuple[Route, ...] = ROUTES) -> AsyncIterator[House]:
    """A house whose service `shop` is a real HTTP service."""
    house = House()
    async with (
        serving(house.shop.http()) as url,
        house.open(ToolService("shop", url, "http", routes=routes)),
    ):
        yield house

"""Load: MCP tool calls on a few keep-alive connections, each of a run of its own.

Run as `python tool_load.py URL SECONDS CONNECTIONS KEY`. Prints JSON: requests, failures, seconds,
p50 and p99 in microseconds.
"""

import asyncio
import json
import sys
import time

import aiohttp
import numpy as np
import uvloop

from molt.link.tokens import Runs, claim

CALL = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "cart_add", "arguments": {"item": "latte", "quantity": 2}},
    }
).encode()
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
}


async def main():
    url, seconds, connections, key = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    runs, guest = Runs(bytes.fromhex(key)), claim("bench", "guest", "candidate", "live")
    took, failures = [], 0
    start = time.perf_counter()

    async def calls(http):
        nonlocal failures
        while time.perf_counter() - start < seconds:
            run = runs.token(runs.new_id(), guest, time.time(), "5ub").decode()
            began = time.perf_counter()
            async with http.post(url, data=CALL, headers={**HEADERS, "x-molt-run": run}) as answer:
                body = await answer.read()
            took.append(time.perf_counter() - began)
            failures += b'"latte":2' not in body.replace(b" ", b"").replace(b"\\", b"")

    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(calls(http) for _ in range(connections)))
    p50, p99 = np.percentile(took, [50, 99]) * 1e6
    figures = {"requests": len(took), "failures": failures, "p50": p50, "p99": p99}
    print(json.dumps(figures | {"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    uvloop.run(main())

"""Load: keep-alive connections that ask a model, each as soon as it has its answer.

Run as `python model_load.py PORT SECONDS CONNECTIONS json|stream RUN_KEY`. Prints JSON: requests,
failures, seconds, p50 and p99 in microseconds.
"""

import asyncio
import json
import random
import sys
import time

import uvloop
from load import report

from molt.link.tokens import Runs, claim

RUNS = 20_000
HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nhost: egress\r\naccept: */*\r\nuser-agent: bench/1\r\n"
    "connection: keep-alive\r\nauthorization: Bearer none\r\ncontent-type: application/json\r\n"
    "x-molt-run: {}\r\ncontent-length: {}\r\n\r\n"
)
ASKED = {
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": "You serve guests of a coffee bar."},
        {"role": "user", "content": "Hi, could I get two flat whites, one with oat milk?"},
    ],
    "max_tokens": 300,
}


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load):
        self.load = load
        self.got = b""

    def connection_made(self, transport):
        self.transport = transport

    def ask(self):
        self.got = b""
        self.transport.write(random.choice(self.load.pool))
        self.sent_at = time.perf_counter()

    def data_received(self, data):
        self.got = got = self.got + data if len(self.got) < 4096 else self.got[:512] + data
        if self.load.stream:
            done = data.endswith(b"0\r\n\r\n")
        else:
            head, _, body = got.partition(b"\r\n\r\n")
            at = head.lower().find(b"content-length:")
            done = at >= 0 and len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0])
        if done:
            self.load.taken.append(time.perf_counter() - self.sent_at)
            self.load.failures += not got.startswith(b"HTTP/1.1 200")
            if not self.load.stopping:
                self.ask()

    def connection_lost(self, exc):
        self.load.failures += not self.load.stopping


class Load:
    """Everything that the connections share."""

    def __init__(self, kind, key):
        runs, stands = Runs(bytes.fromhex(key)), claim("bench", "guest", "candidate", "live")
        self.stream = kind == "stream"
        asked = ASKED | (
            {"stream": True, "stream_options": {"include_usage": True}} if self.stream else {}
        )
        body = json.dumps(asked, separators=(",", ":"))
        tokens = [runs.token(runs.new_id(), stands, time.time()).decode() for _ in range(RUNS)]
        self.pool = [(HEAD.format(token, len(body)) + body).encode() for token in tokens]
        self.taken = []
        self.failures = 0
        self.stopping = False

    async def run(self, port, seconds, connections):
        loop = asyncio.get_running_loop()
        clients = [
            (await loop.create_connection(lambda: Client(self), "127.0.0.1", port))[1]
            for _ in range(connections)
        ]
        started = time.perf_counter()
        for client in clients:
            client.ask()
        await asyncio.sleep(seconds)
        self.stopping = True
        return time.perf_counter() - started


def main():
    port, seconds, connections, kind, key = sys.argv[1:]
    load = Load(kind, key)
    elapsed = uvloop.run(load.run(int(port), float(seconds), int(connections)))
    report(load.taken, load.failures, elapsed)


if __name__ == "__main__":
    main()

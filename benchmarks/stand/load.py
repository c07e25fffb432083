"""Load: keep-alive connections that send chat requests, saturated or paced.

Run as `python load.py PORT SECONDS CONNECTIONS [RATE]`; without a rate every connection sends its
next request as soon as it has its answer. Prints JSON: requests, failures, p50 and p99 in
microseconds, from handing a request to the socket to the last byte of its answer.
"""

import asyncio
import json
import random
import sys
import time

import numpy as np
import uvloop

BODY = json.dumps(
    {
        "model": "guest",
        "messages": [
            {"role": "system", "content": "You serve guests of a coffee bar."},
            {"role": "user", "content": "Hi, could I get two flat whites, one with oat milk?"},
        ],
        "max_tokens": 200,
        "temperature": 0.2,
    }
).encode()
HEAD = (
    "POST /agents/guest/v1/chat/completions HTTP/1.1\r\nhost: bar.example\r\naccept: */*\r\n"
    "accept-encoding: identity\r\nuser-agent: bench/1\r\nconnection: keep-alive\r\n"
    "authorization: Bearer sk-0123456789abcdef\r\ncontent-type: application/json\r\n"
    "x-user-id: user-{}\r\nx-session-id: session-{}\r\ncontent-length: {}\r\n\r\n"
)
USERS = 20_000


class Guest(asyncio.Protocol):
    """One connection; knows how long the answer is after the first one."""

    def __init__(self, load):
        self.load = load
        self.size = self.got = 0
        self.sent_at = 0.0
        self.failed = False

    def connection_made(self, transport):
        self.transport = transport

    def ask(self):
        self.transport.write(self.load.pool[random.randrange(len(self.load.pool))])
        self.sent_at = time.perf_counter()

    def data_received(self, data):
        if not self.got:
            self.failed = not data.startswith(b"HTTP/1.1 200")
            head, _, _ = data.partition(b"\r\n\r\n")
            at = head.lower().index(b"content-length:") + 15
            length = int(head[at:].split(b"\r\n", 1)[0])
            self.size = len(head) + 4 + length
        self.got += len(data)
        if self.got >= self.size:
            self.got = 0
            self.load.answered(self, time.perf_counter() - self.sent_at)

    def connection_lost(self, exc):
        self.load.lost(self)


class Load:
    def __init__(self, rate):
        self.rate = rate
        self.latencies = []
        self.failures = 0
        self.idle = []
        self.stopping = False
        self.pool = [
            HEAD.format(n, n, len(BODY)).encode() + BODY for n in random.sample(range(USERS), 5000)
        ]

    def answered(self, guest, took):
        self.latencies.append(took)
        self.failures += guest.failed
        if self.rate or self.stopping:
            self.idle.append(guest)
        else:
            guest.ask()

    def lost(self, guest):
        if not self.stopping:
            self.failures += 1
            if guest in self.idle:
                self.idle.remove(guest)

    async def run(self, port, seconds, connections):
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, guest = await loop.create_connection(lambda: Guest(self), "127.0.0.1", port)
            self.idle.append(guest)
        started = time.perf_counter()
        if self.rate:
            await self._pace(started, seconds)
        else:
            for guest in self.idle:
                guest.ask()
            self.idle.clear()
            await asyncio.sleep(seconds)
        elapsed = time.perf_counter() - started
        self.stopping = True
        return elapsed

    async def _pace(self, started, seconds):
        due = started
        while (now := time.perf_counter()) < started + seconds:
            while due <= now:
                due += random.expovariate(self.rate)
                if self.idle:
                    self.idle.pop(0).ask()
                else:
                    self.failures += 1
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


def report(latencies, failures, elapsed):
    """Print the figures of a load; `latencies` and `elapsed` are seconds."""
    taken = np.array(latencies) * 1e6
    p50, p99 = np.percentile(taken, [50, 99]) if len(taken) else (0, 0)
    result = {"requests": len(taken), "failures": failures, "seconds": elapsed}
    print(json.dumps(result | {"p50": float(p50), "p99": float(p99)}))


def main():
    port, seconds, connections = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    load = Load(float(sys.argv[4]) if len(sys.argv) > 4 else 0)
    elapsed = uvloop.run(load.run(port, seconds, connections))
    report(load.latencies, load.failures, elapsed)


if __name__ == "__main__":
    main()

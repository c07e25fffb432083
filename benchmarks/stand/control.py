"""The control process as a gateway sees it: flags, beats, and an open ear for batches.

Run as `python control.py`; prints its port.
"""

import asyncio
import re
from datetime import UTC, datetime

import msgspec

from molt.core.flags import Flags, Limits, RolloutFlags

FLAGS = Flags(
    version=1,
    made_at=datetime.now(UTC),
    rollouts=(
        RolloutFlags(
            rollout="bench",
            epoch=1,
            agents=("guest",),
            enabled=True,
            shadow=False,
            share=500,
            mirror=0,
            salt="salt",
            statistics_salt="other salt",
            tiers=(100, 200, 500, 1_000, 2_500, 5_000, 7_500, 10_000),
            cuts=(1000.0, 2000.0, 5000.0),
            limits=Limits(rate_limit_per_minute=1_000_000),
        ),
    ),
)
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


async def serve(reader, writer):
    """Answer requests of one connection; the flag stream lasts as long as it does."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n")
                writer.write(b'{"flags":%b}\n' % msgspec.json.encode(FLAGS))
                while True:
                    await writer.drain()
                    await asyncio.sleep(1)
                    writer.write(b'{"beat":1}\n')
            length = LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

"""A service that costs next to nothing: the same chat completion for every request.

Run as `python upstream.py`; prints its port.
"""

import asyncio
import re

import uvloop

BODY = (
    b'{"id":"chatcmpl-0","object":"chat.completion","created":1750000000,"model":"gpt-4o-mini",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"Two flat whites, one with oat'
    b' milk, coming up. Anything else for table seven today?"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":182,"completion_tokens":21,"total_tokens":203}}'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: application/json\r\n"
    b"x-agent-version: 1\r\ncontent-length: %d\r\n\r\n" % len(BODY)
) + BODY
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


class Service(asyncio.Protocol):
    """Reads whole requests with a length, answers each."""

    def connection_made(self, transport):
        self.transport = transport
        self.held = b""

    def data_received(self, data):
        data = self.held + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(data, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(data) < size:
                break
            self.answer(data[end:size])
            data = data[size:]
        self.held = data

    def answer(self, body):
        self.transport.write(ANSWER)


async def main(service=Service):
    server = await asyncio.get_running_loop().create_server(service, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

"""A provider that costs next to nothing: one chat completion, whole or as 200 chunks.

Run as `python provider.py`; prints its port.
"""

import asyncio
import re

import uvloop
from upstream import ANSWER

HEAD = b'{"id":"chatcmpl-0","object":"chat.completion.chunk","created":1750000000,"model":"gpt-4o-mini",'
CHUNK = (
    b'data: %b"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n' % HEAD
)
LAST = (
    b'data: %b"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: %b"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":200,"total_tokens":220}}\n\n'
    b"data: [DONE]\n\n"
) % (HEAD, HEAD)
CHUNKS = 200
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


def chunked(data):
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


PIECE, END = chunked(CHUNK), chunked(LAST) + b"0\r\n\r\n"


class Provider(asyncio.Protocol):
    """Reads whole requests with a length, answers each; streams send one event a turn of the loop."""

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
            if b'"stream":true' in data[end:size] or b'"stream": true' in data[end:size]:
                self.transport.write(STREAM_HEAD)
                self.send(CHUNKS)
            else:
                self.transport.write(ANSWER)
            data = data[size:]
        self.held = data

    def send(self, left):
        if self.transport.is_closing():
            return
        if left == 0:
            self.transport.write(END)
            return
        self.transport.write(PIECE)
        asyncio.get_running_loop().call_soon(self.send, left - 1)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Provider, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

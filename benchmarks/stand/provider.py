"""A provider that costs next to nothing: one chat completion, whole or as 200 chunks.

Run as `python provider.py`; prints its port.
"""

import asyncio

import uvloop
from upstream import Service, main

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


def chunked(data):
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


PIECE, END = chunked(CHUNK), chunked(LAST) + b"0\r\n\r\n"


class Provider(Service):
    """Streams send one event a turn of the loop."""

    def answer(self, body):
        if b'"stream":true' in body:
            self.transport.write(STREAM_HEAD)
            self.send(CHUNKS)
        else:
            super().answer(body)

    def send(self, left):
        if self.transport.is_closing():
            return
        if left == 0:
            self.transport.write(END)
            return
        self.transport.write(PIECE)
        asyncio.get_running_loop().call_soon(self.send, left - 1)


if __name__ == "__main__":
    uvloop.run(main(Provider))

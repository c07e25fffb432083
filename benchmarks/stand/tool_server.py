"""An MCP server of fastmcp with one tool, or with a URL a fastmcp proxy in front of one.

Run as `python tool_server.py [URL]`; prints its port.
"""

import socket
import sys

import uvicorn
from fastmcp import FastMCP
from fastmcp.server import create_proxy


def main():
    if len(sys.argv) > 1:
        server = create_proxy(sys.argv[1], name="proxy")
    else:
        server = FastMCP("tools")

        @server.tool
        async def cart_add(item: str, quantity: int = 1) -> dict[str, int]:
            return {item: quantity}

    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    app = server.http_app(path="/mcp", stateless_http=True, json_response=True)
    config = uvicorn.Config(app, log_config=None, access_log=False)
    uvicorn.Server(config).run([sock])


if __name__ == "__main__":
    main()

"""The proxy alone, with an edge that forwards everything: what the mechanics cost.

Run as `python bare.py UPSTREAM_PORT`; prints its port.
"""

import asyncio
import sys

import uvloop

from molt.gateway.proxy import Proxy
from molt.wire.deadlines import Deadlines
from molt.wire.exchange import Forward
from molt.wire.upstream import Upstream


class Forwarding:
    """Decides nothing."""

    def __init__(self, plan):
        self.plan = plan

    def wants_body(self, exchange):
        return False

    def decide(self, exchange):
        return self.plan

    def answered(self, exchange, status, headers):
        return None

    def may_fall_back(self, exchange, failure, resume):
        resume(False)

    def record(self, exchange):
        pass


async def main(port):
    deadlines = Deadlines()
    plan = Forward(Upstream("control", "127.0.0.1", port, deadlines))
    proxy = Proxy(Forwarding(plan), plan, deadlines)
    await proxy.start(freeze=True)
    print(proxy.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

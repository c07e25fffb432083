"""What the egress has for its doors."""

from collections.abc import Callable
from typing import NamedTuple

import aiohttp

from molt.egress.journal import Journal
from molt.egress.ledger import Ledger
from molt.egress.runs import Callers
from molt.egress.settings import EgressSettings
from molt.egress.violations import Violations
from molt.ports import Prices


class House(NamedTuple):
    """Shared by all doors; `http` gives the client for upstreams."""

    settings: EgressSettings
    callers: Callers
    ledger: Ledger
    violations: Violations
    journal: Journal
    prices: Prices
    http: Callable[[], aiohttp.ClientSession]

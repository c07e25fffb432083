"""Which client a request without a subject comes from."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network

from molt.core.errors import OperatorError


class ClientAddresses:
    """Finds the client behind proxies that are trusted to say for whom they ask.

    `trusted` are addresses and networks. Raises `OperatorError` for one that is neither.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        try:
            self._networks = [ip_network(name) for name in trusted]
        except ValueError as error:
            raise OperatorError(f"trusted_proxies: {error}") from None
        self._trusts = lru_cache(maxsize=1000)(self._is_trusted)

    def of(self, peer: str, forwarded_for: bytes | None) -> str:
        """The last address that no trusted proxy has; `peer` when nobody else is named.

        `forwarded_for` is the value of `x-forwarded-for`, nearest proxy last.
        """
        if forwarded_for is None or not self._trusts(peer):
            return peer
        for part in reversed(forwarded_for.decode("latin-1").split(",")):
            address = part.strip()
            if address and not self._trusts(address):
                return address
        return peer

    def _is_trusted(self, address: str) -> bool:
        try:
            known = ip_address(address)
        except ValueError:
            return False
        return any(known in network for network in self._networks)

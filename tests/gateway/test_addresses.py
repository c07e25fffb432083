"""Clients without a subject are told apart by address, and nobody can make one up."""

import pytest

from molt.core.errors import OperatorError
from molt.gateway.addresses import ClientAddresses

TRUSTED = ClientAddresses(("127.0.0.0/8", "::1", "10.0.0.0/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", b"198.51.100.1", "203.0.113.9"),  # anybody may claim anything
        ("127.0.0.1", b"198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", b"192.0.2.7, 198.51.100.1", "198.51.100.1"),  # the last one saw it
        ("::1", b"198.51.100.1, 10.1.2.3", "198.51.100.1"),  # behind two of our own
        ("127.0.0.1", b"10.1.2.3", "127.0.0.1"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", b"", "127.0.0.1"),
        ("127.0.0.1", b"unknown", "unknown"),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_has(peer, forwarded, client):
    assert TRUSTED.of(peer, forwarded) == client


def test_a_network_that_is_none_is_refused():
    with pytest.raises(OperatorError, match="trusted_proxies"):
        ClientAddresses(("my proxy",))

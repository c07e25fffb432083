"""One address has one Molt: workers share a port among themselves, never with another installation."""

import os
import socket

import pytest

from molt.apps.serve.installation import refuse_taken, take
from molt.core.errors import OperatorError


def test_a_port_that_another_gateway_shares_is_not_taken_from_it():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OperatorError, match=f"Cannot listen on {address}"):
            refuse_taken(address)
    refuse_taken(address)


def test_connections_that_linger_keep_no_port_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            taken, _ = server.accept()
            taken.close()  # this side closes first, and lingers
            client.recv(1)
    refuse_taken(f"127.0.0.1:{address[1]}")


def test_one_data_directory_has_one_molt(tmp_path):
    first = take(tmp_path)
    with pytest.raises(OperatorError, match="Another `molt serve` runs on"):
        take(tmp_path)
    os.close(first)
    os.close(take(tmp_path))


def test_a_new_data_directory_is_closed_to_other_users(tmp_path):
    data = tmp_path / "var" / "molt"
    os.close(take(data))
    assert not data.stat().st_mode & 0o007

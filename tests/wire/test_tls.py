"""TLS on both sides: verified by default, own authority, client certificate."""

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from molt.wire.exchange import Forward
from molt.wire.tls import client_context, server_context
from molt.wire.upstream import Upstream


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        certificate = self._sign(self.name, self.key, authority=True)
        self.path = directory / "ca.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key files for `localhost`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, authority=False)
        certificate_path, key_path = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate_path, key_path

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool):
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(True, False, False, False, False, authority, authority, False, False)
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        theirs = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(own, critical=False)
            .add_extension(theirs, critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


async def secure_service(stand, tls):
    service = await stand.service()
    await service.stop()
    await service.start(tls=tls, host="localhost")
    return service


async def proxy_to(stand, service, tls):
    url = f"https://localhost:{service.port}"
    upstream = Upstream.from_url("control", url, stand.deadlines, tls=tls)
    return await stand.proxy(Forward(stand.adopt(upstream)))


async def test_an_upstream_with_a_certificate_of_our_authority_is_spoken_to(stand, authority):
    service = await secure_service(stand, server_context(*authority.issue("service")))
    await proxy_to(stand, service, client_context(ca=authority.path))
    for _ in range(2):
        assert (await stand.get()).body == b"ok"
    assert service.connections == 1


async def test_an_upstream_that_nobody_vouches_for_is_unreachable(stand, authority):
    service = await secure_service(stand, server_context(*authority.issue("service")))
    edge = await proxy_to(stand, service, None)
    assert (await stand.get()).status == 502
    assert edge.records[0].outcome == "upstream_unreachable"
    assert not service.visits


async def test_a_client_certificate_is_shown_to_the_upstream(stand, authority):
    tls = server_context(*authority.issue("service"))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.path)
    service = await secure_service(stand, tls)
    certificate, key = authority.issue("molt")
    shown = client_context(ca=authority.path, certificate=certificate, key=key)
    await proxy_to(stand, service, shown)
    assert (await stand.get()).body == b"ok"


async def test_the_listener_takes_a_certificate(stand, authority):
    service = await stand.service()
    tls = server_context(*authority.issue("gateway"))
    await stand.proxy(Forward(stand.upstream(service)), listen={"tls": tls, "host": "localhost"})
    trusting = client_context(ca=authority.path)
    client = await stand.client(host="localhost", ssl=trusting)
    for _ in range(2):
        client.send(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
        assert (await client.answer()).body == b"ok"
    assert service.requests[0].get("x-forwarded-proto") == "https"
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert (await client.answer()).status == 400


async def test_a_tls_answer_until_close_without_its_goodbye_is_truncated(stand, authority):
    async def torn(visit):
        visit.client.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await visit.client.writer.drain()
        visit.client.reset()

    service = await secure_service(stand, server_context(*authority.issue("service")))
    service.handler = torn
    edge = await proxy_to(stand, service, client_context(ca=authority.path))
    assert not (await stand.get()).whole
    assert edge.records[0].outcome == "upstream_truncated"

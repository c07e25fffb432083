"""TLS contexts for listener and upstreams."""

import ssl
from pathlib import Path


def client_context(
    *, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """A context that verifies an upstream against `ca`, or the system's authorities without one.

    `certificate` (with `key`, unless it is in the same file) is shown to the upstream. Raises
    OSError or ssl.SSLError for files that cannot be used.
    """
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def server_context(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """A context for the listener with its certificate chain and key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context

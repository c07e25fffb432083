"""Bytes and formats: an HTTP/1.1 reverse proxy built on transport callbacks, SSE, usage reading.

Nothing here knows what Molt is. `exchange.py` holds all that a user of the proxy meets: it gives an
`Edge`, which decides where a request goes and records what became of it.
"""

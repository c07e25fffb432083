"""The chunked coding: any split gives the same body, and llhttp never reads more into it."""

import contextlib

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.wire.chunks import ChunkDecoder, Malformed

EXTENSIONS = st.sampled_from([b"", b";a=1", b' ;q="x y"'])
TRAILERS = st.sampled_from([b"", b"X-A: 1\r\n", b"a:\r\nb: c\r\n"])


@st.composite
def coded(draw):
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    raw = b"".join(b"%x%b\r\n%b\r\n" % (len(p), draw(EXTENSIONS), p) for p in pieces)
    return b"".join(pieces), raw + b"0\r\n" + draw(TRAILERS) + b"\r\n"


def decode(raw, cuts=()):
    """Body, and where it ended in `raw`."""
    decoder, body, at = ChunkDecoder(), b"", 0
    for cut in [*sorted(cuts), len(raw)]:
        pieces, end = decoder.feed(raw[at:cut])
        body += b"".join(pieces)
        if end is not None:
            return body, at + end
        at = cut
    return body, None


@given(coded(), st.lists(st.integers(0, 300)), st.binary(max_size=20))
def test_any_split_gives_the_same_body_and_end(message, cuts, rest):
    body, raw = message
    cuts = [min(cut, len(raw)) for cut in cuts]
    assert decode(raw + rest, cuts) == (body, len(raw))


class Oracle:
    def __init__(self):
        self.body = b""
        self.done = False

    def on_body(self, data):
        self.body += data

    def on_message_complete(self):
        self.done = True


@given(
    st.lists(
        st.sampled_from(
            [
                b"0",
                b"1",
                b"a",
                b"A",
                b"g",
                b" ",
                b";",
                b"\r",
                b"\n",
                b"\r\n",
                b"\0",
                b":",
                b"-",
                b"0x1",
            ]
        ),
        max_size=14,
    ).map(b"".join)
)
def test_what_is_accepted_llhttp_reads_in_the_same_way(raw):
    try:
        body, end = decode(raw)
    except Malformed:
        return
    if end is None:
        return
    oracle = Oracle()
    parser = httptools.HttpRequestParser(oracle)
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(httptools.HttpParserError):
        parser.feed_data(raw[:end])
        assert (oracle.body, oracle.done) == (body, True)


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\na\r\n",
        b"1\na\r\n0\r\n\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\nab: c\r\n\r\n0\r\n\r\n",
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"1" * 17 + b"\r\n",
        b"1;" + b"x" * 5000,
        b"0\r\n" + b"a: b\r\n" * 1000,
    ],
)
def test_what_is_malformed_is_refused(raw):
    with pytest.raises(Malformed):
        decode(raw)

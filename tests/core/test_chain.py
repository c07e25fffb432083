"""Whatever is done to a chained log, the first bad record is found."""

import json

from hypothesis import assume, given
from hypothesis import strategies as st

from molt.core.chain import GENESIS, Broken, link, seal, unseal, verify

BODIES = st.lists(
    st.dictionaries(st.sampled_from(["at", "path", "seq2"]), st.text(), min_size=1).map(
        lambda record: json.dumps(record).encode()
    ),
    min_size=1,
    max_size=8,
)


def chain(bodies: list[bytes]) -> list[bytes]:
    lines, last = [], GENESIS
    for number, body in enumerate(bodies, start=1):
        line, last = seal(body, number, last)
        lines.append(line)
    return lines


def head_of(lines: list[bytes]) -> tuple[int, str]:
    found = unseal(lines[-1])
    assert found is not None
    return found.seq, found.hash.decode()


@given(BODIES)
def test_an_untouched_chain_holds_and_its_lines_stay_json(bodies: list[bytes]) -> None:
    lines = chain(bodies)
    assert verify(lines, head_of(lines)) is None
    for number, (line, body) in enumerate(zip(lines, bodies, strict=True), start=1):
        assert json.loads(line) == {
            **json.loads(body),
            "seq": number,
            "hash": head_of(lines[:number])[1],
        }


def test_the_hash_can_be_recomputed_by_hand() -> None:
    line, digest = seal(b'{"a":1}', 1, GENESIS)
    assert line == b'{"a":1,"seq":1,"hash":"' + digest + b'"}\n'
    assert digest == link(GENESIS, b'{"a":1,"seq":1,"hash":"')
    # printf '%064d{"a":1,"seq":1,"hash":"' 0 | sha256sum
    assert digest == b"68f99e4310a03049253bcac73d4b6dba80505ee834c469b8adc030d85af00dd7"


@given(BODIES, st.data())
def test_any_changed_byte_is_found_at_its_record(bodies: list[bytes], data: st.DataObject) -> None:
    lines = chain(bodies)
    index = data.draw(st.integers(0, len(lines) - 1))
    position = data.draw(st.integers(0, len(lines[index]) - 1))
    change = data.draw(st.integers(1, 255))
    line = bytearray(lines[index])
    line[position] ^= change
    changed = [*lines[:index], bytes(line), *lines[index + 1 :]]
    broken = verify(changed, head_of(lines))
    assert broken is not None
    assert broken.index == index


@given(BODIES, st.data())
def test_a_dropped_record_is_found(bodies: list[bytes], data: st.DataObject) -> None:
    lines = chain(bodies)
    index = data.draw(st.integers(0, len(lines) - 1))
    broken = verify(lines[:index] + lines[index + 1 :], head_of(lines))
    assert broken is not None
    assert (broken.index, broken.seq) == (index, index + 1)
    assert "is missing" in broken.what


@given(BODIES, st.data())
def test_an_inserted_record_is_found(bodies: list[bytes], data: st.DataObject) -> None:
    lines = chain(bodies)
    index = data.draw(st.integers(0, len(lines)))
    number = data.draw(st.integers(1, 20))
    extra, _ = seal(b'{"a":1}', number, data.draw(st.sampled_from([GENESIS, b"f" * 64])))
    assume(not (index == 0 and number == 1) or extra != lines[0])
    broken = verify([*lines[:index], extra, *lines[index:]], head_of(lines))
    assert broken is not None
    assert broken.index in (index, index + 1)


@given(BODIES.filter(lambda bodies: len(bodies) > 1), st.data())
def test_reordered_records_are_found(bodies: list[bytes], data: st.DataObject) -> None:
    lines = chain(bodies)
    order = data.draw(st.permutations(range(len(lines))))
    assume(list(order) != sorted(order))
    first = next(i for i, j in enumerate(order) if i != j)
    broken = verify([lines[i] for i in order], head_of(lines))
    assert broken is not None
    assert broken.index == first


@given(BODIES, st.data())
def test_a_truncated_tail_is_found_by_the_kept_head(
    bodies: list[bytes], data: st.DataObject
) -> None:
    lines = chain(bodies)
    keep = data.draw(st.integers(0, len(lines) - 1))
    broken = verify(lines[:keep], head_of(lines))
    assert broken == Broken(
        keep, keep + 1, f"is missing: the kept head says that record {len(lines)} was written"
    )
    assert verify(lines[:keep]) is None


@given(BODIES, BODIES)
def test_a_rewritten_chain_is_found_by_the_kept_head(one: list[bytes], two: list[bytes]) -> None:
    assume(one != two[: len(one)])
    broken = verify(chain(two), head_of(chain(one)))
    assert broken is not None


@given(BODIES, BODIES)
def test_a_chain_may_go_on_behind_its_kept_head(one: list[bytes], more: list[bytes]) -> None:
    assert verify(chain(one + more), head_of(chain(one))) is None


def test_a_wrong_number_is_found_even_where_the_hashes_fit() -> None:
    first, last = seal(b'{"a":1}', 1, GENESIS)
    third, _ = seal(b'{"a":2}', 3, last)
    assert verify([first, third]) == Broken(1, 2, "has number 3 where 2 is due")


@given(st.binary(max_size=300))
def test_any_bytes_can_be_asked_for_their_seal(line: bytes) -> None:
    assert unseal(line) is None

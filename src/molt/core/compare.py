"""The candidate's answer against control's: a list of differences, each of a kind.

Whether a pair is acceptable follows from the kinds alone, so that a person can accept or flag a kind
and every count stays right. See `KINDS` for what there is.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, cast

import msgspec

from molt.core import json_paths, texts
from molt.core.pairs import Call, Difference, Pair, Side, Tally
from molt.core.quantities import show_fraction

KINDS: Final[dict[str, tuple[float, str]]] = {
    "failed": (100.0, "the candidate gave no whole answer"),
    "status": (60.0, "another HTTP status"),
    "call_missing": (50.0, "control acted, the candidate would not have"),
    "call_extra": (50.0, "the candidate would have acted, control did not"),
    "call_arguments": (40.0, "the same tool with other arguments"),
    "empty": (40.0, "one of them said nothing"),
    "unreadable": (30.0, "a body could not be read, so nothing is known"),
    "prices": (20.0, "other amounts of money in the text"),
    "structure": (15.0, "other fields or values in the JSON"),
    "numbers": (6.0, "other numbers in the text"),
    "names": (4.0, "other names in the text"),
    "wording": (3.0, "said in other words"),
    "latency": (2.0, "the candidate was slower"),
    "tokens": (1.0, "the candidate used more tokens"),
    "cost": (1.0, "the candidate cost more"),
}
"""Family -> how bad it is, for sorting, and what it means."""

BLOCKING: Final = (
    *("failed", "status", "call_missing", "call_extra", "call_arguments"),
    *("empty", "unreadable", "prices", "structure"),
)
"""The families that make a pair unacceptable unless the plan or a person says otherwise."""

MOST_CALLS: Final = 100
MOST_PATHS: Final = 50
MOST_KINDS: Final = 12
"""Kinds of one pair that name their tool; beyond that, families stand for them."""
LONGEST_TOOL: Final = 64
LARGEST_EXACT: Final = 2.0**53
"""Above it, whole numbers that differ can be one float."""


class Rules(msgspec.Struct, frozen=True):
    """What counts as a difference.

    `ignore` are JSON paths, `ignore_calls` globs of tools that only read unless they match `writes`
    too, `ignore_arguments` paths in arguments. `wording` is the least likeness; `slower` and `slower_ms` are both exceeded by
    what counts as slower, `dearer` by what counts as more tokens or cost. With `dry_runs` the
    candidate's actions were only tried: it cannot say what only their results would have told it.
    """

    ignore: tuple[str, ...] = ()
    ignore_calls: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    ignore_arguments: tuple[str, ...] = ()
    wording: float = 0.5
    slower: float = 2.0
    slower_ms: float = 500.0
    dearer: float = 2.0
    dry_runs: bool = True


def compare(control: Side, candidate: Side, rules: Rules) -> list[Difference]:
    """How the candidate's answer differs; empty for equal ones. Worst first."""
    if not candidate.answered:
        why = candidate.outcome.replace("_", " ")
        return [Difference("failed", f"no whole answer: {why}", control.status, candidate.status)]
    found = [*_amounts(control, candidate, rules)]
    if control.status != candidate.status:
        shown = f"{candidate.status} instead of {control.status}"
        found.append(Difference("status", shown, control.status, candidate.status))
    if control.mark or candidate.mark:
        marks = {control.mark: "control", candidate.mark: "the candidate"}
        shown = "; ".join(f"{who}: {mark}" for mark, who in marks.items() if mark)
        found.append(Difference("unreadable", shown, control.mark, candidate.mark))
    else:
        excused = rules.dry_runs and bool(actions(candidate.calls or (), rules))
        found += _texts(control.text, candidate.text, rules, excused)
        found += _structure(control.data, candidate.data, rules)
    if control.calls is not None and candidate.calls is not None:
        found += _calls(control.calls, candidate.calls, rules)
    return sorted(_bounded(found), key=lambda d: (-weight(d), d.kind))


def family(kind: str) -> str:
    """The family of a kind: what stands before the colon."""
    return kind.partition(":")[0]


def weight(difference: Difference) -> float:
    """How bad it is: the family's weight, by its size."""
    return KINDS[family(difference.kind)][0] * difference.size


def score(differences: Iterable[Difference]) -> float:
    """How far apart two answers are; more differences never make it smaller."""
    return round(sum(map(weight, differences)), 3)


def reasons(
    kinds: Collection[str], blocking: Collection[str], ruled: Mapping[str, bool]
) -> list[str]:
    """The kinds that make a pair unacceptable; empty for an acceptable one.

    `ruled` is what people said: kind, or whole family, -> acceptable. The nearer word counts.
    """
    return sorted(k for k in kinds if not acceptable(k, blocking, ruled))


def acceptable(kind: str, blocking: Collection[str], ruled: Mapping[str, bool]) -> bool:
    """Whether a pair with a difference of this kind can still be acceptable."""
    said = ruled.get(kind, ruled.get(family(kind)))
    return family(kind) not in blocking and kind not in blocking if said is None else said


def _bounded(found: list[Difference]) -> list[Difference]:
    if len({d.kind for d in found}) <= MOST_KINDS:
        return found
    return [msgspec.structs.replace(d, kind=family(d.kind)) for d in found]


# --- amounts


def _amounts(control: Side, candidate: Side, rules: Rules) -> Iterable[Difference]:
    slow = candidate.latency_ms - control.latency_ms
    if slow > rules.slower_ms and candidate.latency_ms > rules.slower * control.latency_ms:
        shown = f"{candidate.latency_ms:.0f} ms instead of {control.latency_ms:.0f} ms"
        yield Difference("latency", shown, control.latency_ms, candidate.latency_ms)
    for kind, ours, theirs in (
        ("tokens", control.tokens, candidate.tokens),
        ("cost", control.cost, candidate.cost),
    ):
        if ours and theirs is not None and theirs > rules.dearer * ours:
            yield Difference(kind, f"{theirs:g} instead of {ours:g}", ours, theirs)


# --- words


def _texts(
    control: str | None, candidate: str | None, rules: Rules, excused: bool
) -> Iterable[Difference]:
    ours, theirs = (control or "").strip(), (candidate or "").strip()
    if not ours and not theirs:
        return
    if not ours or not theirs:
        yield Difference("empty", f"{'control' if theirs else 'the candidate'} said nothing")
        return
    alike = texts.likeness(ours, theirs)
    if alike < rules.wording:
        yield Difference("wording", f"{show_fraction(round(alike, 2))} alike", size=1 - alike)
    yield from _facts(texts.facts(ours), texts.facts(theirs), excused)


def _facts(control: texts.Facts, candidate: texts.Facts, excused: bool) -> Iterable[Difference]:
    """Facts that differ; when `excused`, only those that the candidate states and control does not,
    and not the zeros of results that were made up for a dry run."""
    for kind in ("prices", "numbers", "names"):
        ours: frozenset[str] = getattr(control, kind)
        theirs: frozenset[str] = getattr(candidate, kind)
        if excused:
            ours |= theirs & {"0"}
        if theirs - ours or (ours - theirs and not excused):
            only = [f"not {x}" for x in sorted(ours - theirs)] + sorted(theirs - ours)
            share = len(ours ^ theirs) / len(ours | theirs)
            shown = f"said {', '.join(only[:6])}"
            yield Difference(kind, shown, sorted(ours), sorted(theirs), size=share)


# --- data


def _structure(control: Any, candidate: Any, rules: Rules) -> Iterable[Difference]:
    ignored = json_paths.ignoring(rules.ignore)
    found = [c for c in json_paths.changes(control, candidate) if not ignored(c.path)]
    if not found:
        return
    paths = tuple(dict.fromkeys(change.path for change in found))
    shown = ", ".join(f"{c.path}: {_short(c.candidate)} not {_short(c.control)}" for c in found[:3])
    size = min(1.0, len(found) / max(json_paths.leaves(control), json_paths.leaves(candidate)))
    first = found[0]
    yield Difference(
        "structure", shown, first.control, first.candidate, paths[:MOST_PATHS], round(size, 4)
    )


def _short(value: Any) -> str:
    text = "missing" if value is None else msgspec.json.encode(value).decode()
    return text if len(text) <= 40 else f"{text[:37]}..."


# --- calls


def actions(calls: Iterable[Call], rules: Rules) -> list[Call]:
    """The calls that act: all but those of tools that only read."""

    def reads(tool: str) -> bool:
        return _matches(tool, rules.ignore_calls) and not _matches(tool, rules.writes)

    return [call for call in calls if not reads(call.tool)][:MOST_CALLS]


def _matches(tool: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(tool, glob) for glob in globs)


def _calls(
    control: Sequence[Call], candidate: Sequence[Call], rules: Rules
) -> Iterable[Difference]:
    ours, theirs = actions(control, rules), actions(candidate, rules)
    for tool in dict.fromkeys(call.tool for call in (*ours, *theirs)):
        mine = [leaves_of(c.arguments, rules) for c in ours if c.tool == tool]
        other = [leaves_of(c.arguments, rules) for c in theirs if c.tool == tool]
        yield from _calls_of(tool, mine, other)


Leaves = dict[str, Any]


def tally(control: Side, candidate: Side, rules: Rules) -> Tally | None:
    """How far the actions agree; None where one side's are not known."""
    if control.calls is None or candidate.calls is None:
        return None
    ours, theirs = actions(control.calls, rules), actions(candidate.calls, rules)
    matched = equal = 0
    for tool in {call.tool for call in ours}:
        mine = [leaves_of(c.arguments, rules) for c in ours if c.tool == tool]
        other = [leaves_of(c.arguments, rules) for c in theirs if c.tool == tool]
        both = _matched(mine, other)
        matched += len(both)
        equal += sum(1 for i, j in both if agreement(mine[i], other[j]) == 1)
    return Tally(len(ours), len(theirs), matched, equal)


def _calls_of(tool: str, ours: list[Leaves], theirs: list[Leaves]) -> Iterable[Difference]:
    """Calls of one tool, matched so that as many as possible agree, and the rest as well as may be."""
    matched = _matched(ours, theirs)
    name = tool[:LONGEST_TOOL]
    for i, j in matched:
        share = agreement(ours[i], theirs[j])
        if share < 1:
            shown = f"{name}: {_argument_text(ours[i], theirs[j])}"
            yield Difference(
                f"call_arguments:{name}", shown, ours[i], theirs[j], size=round(1 - share, 4)
            )
    for i in sorted(set(range(len(ours))) - {i for i, _ in matched}):
        yield Difference(f"call_missing:{name}", f"{name} was not called", ours[i])
    for j in sorted(set(range(len(theirs))) - {j for _, j in matched}):
        yield Difference(f"call_extra:{name}", f"{name} was called", None, theirs[j])


def _matched(ours: list[Leaves], theirs: list[Leaves]) -> list[tuple[int, int]]:
    ranked = sorted(
        (-agreement(a, b), abs(i - j), i + j, i, j)
        for i, a in enumerate(ours)
        for j, b in enumerate(theirs)
    )
    matched: list[tuple[int, int]] = []
    used: tuple[set[int], set[int]] = (set(), set())
    for _, _, _, i, j in ranked:
        if i not in used[0] and j not in used[1]:
            matched.append((i, j))
            used[0].add(i)
            used[1].add(j)
    return matched


def agreement(ours: Leaves, theirs: Leaves) -> float:
    """The share of arguments that are equal; 1 where neither has any."""
    names = ours.keys() | theirs.keys()
    same = sum(1 for name in names if ours.get(name) == theirs.get(name))
    return same / len(names) if names else 1.0


def leaves_of(arguments: Mapping[str, Any], rules: Rules) -> Leaves:
    """Arguments as path -> value, in one spelling. What is empty counts as left out; lists of plain
    values have no order."""
    ignored = json_paths.ignoring(rules.ignore_arguments)
    return {path: value for path, value in _flat(arguments, "") if not ignored(path)}


def _flat(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    if value in (None, "", [], {}):
        return
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            yield from _flat(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        items = cast("Sequence[Any]", value)
        if any(isinstance(item, dict | list) for item in items):
            for i, item in enumerate(items):
                yield from _flat(item, f"{path}[{i}]")
        else:
            yield path, sorted(map(_plain, items), key=str)
    else:
        yield path, _plain(value)


def _plain(value: Any) -> Any:
    """Text without case, and a number however it was written.

    What a float cannot hold exactly stays text: "nan", which would differ from itself, and long ids,
    which would all be alike.
    """
    if isinstance(value, bool) or value is None:
        return value
    text = texts.normalised(str(value)) if isinstance(value, str) else str(value)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if abs(number) < LARGEST_EXACT else text


def _argument_text(ours: Leaves, theirs: Leaves) -> str:
    names = [n for n in dict.fromkeys((*ours, *theirs)) if ours.get(n) != theirs.get(n)]
    parts = [f"{n} {_short(theirs.get(n))} not {_short(ours.get(n))}" for n in names]
    return ", ".join(parts[:3])


# --- above the noise


class Noise(msgspec.Struct, frozen=True):
    """Of pairs whose request went to control twice: how many, and per field how often control
    differed from itself and the candidate from control."""

    pairs: int = 0
    control: Mapping[str, float] = {}
    candidate: Mapping[str, float] = {}

    def drowns(self, field: str) -> bool:
        """Whether the candidate differs in `field` no more than control differs from itself.

        Diffy's rule (Twitter 2015): a difference counts when it is more frequent than the noise by
        20% of both together, and by 0.03% of all pairs. Without noise every difference counts.
        """
        noise, raw = self.control.get(field, 0.0), self.candidate.get(field, 0.0)
        if not noise or not self.pairs:
            return False
        above = raw - noise
        return not (
            above > 0 and above / (raw + noise) > RELATIVE and above / self.pairs > ABSOLUTE
        )


RELATIVE: Final = 0.2
ABSOLUTE: Final = 0.0003


def fields(differences: Iterable[Difference]) -> set[str]:
    """The fields that differ: JSON paths, and for the rest the kinds. Calls are never noise: to act
    is no fluctuation."""
    found: set[str] = set()
    for d in differences:
        if not d.kind.startswith("call_"):
            found.update(d.paths or (d.kind,))
    return found


def above(differences: Iterable[Difference], noise: Noise) -> tuple[list[Difference], list[str]]:
    """What is left of the differences above the noise, and the fields that drowned in it."""
    left: list[Difference] = []
    drowned: set[str] = set()
    for d in differences:
        mine = fields([d])
        under = {field for field in mine if noise.drowns(field)}
        drowned |= under
        if not mine or mine - under:
            paths = tuple(p for p in d.paths if p not in under)
            left.append(msgspec.structs.replace(d, paths=paths))
    return left, sorted(drowned)


def compared(pair: Pair, rules: Rules, noise: Noise) -> Pair:
    """The pair with its differences, above the noise."""
    found, drowned = above(compare(pair.control, pair.candidate, rules), noise)
    return msgspec.structs.replace(
        pair,
        differences=tuple(found),
        noise=tuple(drowned),
        acted=tally(pair.control, pair.candidate, rules),
    )

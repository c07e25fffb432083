"""Pairs as people and dashboards read them: a list, one in full, and a summary by kind."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from molt.control.desk import Desk
from molt.core import agreement, compare
from molt.core.pairs import Outline, Pair
from molt.core.playbook import ShadowAgreementGate
from molt.core.stats import bernoulli
from molt.ports import PairStore

View = dict[str, Any]
Sort = Literal["worst", "newest"]

LONGEST_LINE = 200


def verdict_of(desk: Desk, kinds: Sequence[str] | None) -> tuple[str, list[str]]:
    """`acceptable`, `unacceptable` or `pending`, and the kinds that make it unacceptable."""
    if kinds is None:
        return "pending", []
    blocking = desk.playbook.comparison.blocking
    why = compare.reasons(kinds, blocking, desk.rollout.differences)
    return ("unacceptable" if why else "acceptable"), why


async def listed(
    desk: Desk,
    store: PairStore,
    *,
    kind: str | None = None,
    verdict: str | None = None,
    agent: str | None = None,
    sort: Sort = "worst",
    limit: int = 50,
    offset: int = 0,
) -> View:
    """Pairs that fit the filters, worst (or newest) first: `total`, and a page of `pairs`."""
    rows = [
        (row, *verdict_of(desk, row.kinds))
        for row in await store.outlines(desk.id)
        if _fits(row, kind) and agent in (None, row.agent)
    ]
    rows = [row for row in rows if verdict in (None, row[1])]
    if sort == "worst":
        rows.sort(key=lambda row: (row[1] != "unacceptable", -row[0].score))
    page = rows[offset : offset + limit]
    bodies = {p.id: p for p in await store.pairs(desk.id, [row.id for row, _, _ in page])}
    return {
        "rollout": desk.id,
        "total": len(rows),
        "pairs": [
            {**_brief(bodies[row.id]), "verdict": said, "reasons": why, "score": row.score}
            for row, said, why in page
            if row.id in bodies
        ],
    }


def _fits(row: Outline, kind: str | None) -> bool:
    return kind is None or any(kind in (k, compare.family(k)) for k in row.kinds or ())


def _brief(pair: Pair) -> View:
    return {
        "id": pair.id,
        "at": pair.at,
        "agent": pair.agent,
        "subject": pair.subject,
        "method": pair.method,
        "path": pair.path,
        "asked": asked(pair),
        "kinds": sorted(pair.kinds),
        "what": [d.text for d in (pair.differences or ())[:3]],
        "control_ms": pair.control.latency_ms,
        "candidate_ms": pair.candidate.latency_ms,
    }


def asked(pair: Pair) -> str:
    """What the user asked, in one line: the last message, else the request as it came."""
    request = pair.request
    if isinstance(request, dict):
        messages = request.get("messages")
        if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
            request = messages[-1].get("content")
        else:
            request = request.get("message", request.get("input", request))
    if request is None:
        return f"{pair.method} {pair.path}"
    text = request if isinstance(request, str) else msgspec.json.encode(request).decode()
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 3]}..."


def shown(desk: Desk, pair: Pair) -> View:
    """One pair in full: both answers, each difference, what blocks, and why."""
    kinds = None if pair.differences is None else sorted(pair.kinds)
    said, why = verdict_of(desk, kinds)
    full = msgspec.to_builtins(pair, builtin_types=(type(pair.at),))
    differences = [
        {**msgspec.to_builtins(d), "blocking": d.kind in why} for d in pair.differences or ()
    ]
    return full | {
        "asked": asked(pair),
        "verdict": said,
        "reasons": why,
        "score": compare.score(pair.differences or ()),
        "differences": differences,
    }


async def summary(desk: Desk, store: PairStore) -> View:
    """How well the agent agrees: the rate with its interval, and the kinds of differences.

    The kinds that make pairs unacceptable come first, the most frequent of them on top; each with
    an example, the worst pair that has it.
    """
    plan, ruled = desk.playbook.comparison, desk.rollout.differences
    epoch = desk.rollout.epoch
    now = agreement.counts(desk.book, [epoch], plan.blocking, ruled)
    ever = agreement.counts(desk.book, range(epoch + 1), plan.blocking, ruled)
    outlines = await store.outlines(desk.id)
    noise = agreement.noise(desk.book, epoch)
    return {
        "rollout": desk.id,
        "enabled": plan.enabled,
        "epoch": epoch,
        "this_step": _rate(now),
        "all": _rate(ever),
        "limit": _limit(desk),
        "kept": len(outlines),
        "pending": sum(1 for row in outlines if row.kinds is None),
        "dropped": ever.dropped,
        "actions": msgspec.structs.asdict(agreement.acted(desk.book, range(epoch + 1))),
        "kinds": await _kinds(desk, store, ever, outlines),
        "ruled": [{"kind": kind, "acceptable": said} for kind, said in sorted(ruled.items())],
        "noise": [
            {
                "field": name,
                "pairs": noise.pairs,
                "control": int(times),
                "candidate": int(noise.candidate.get(name, 0)),
                "drowned": noise.drowns(name),
            }
            for name, times in sorted(noise.control.items(), key=lambda row: -row[1])
        ],
        "twins": noise.pairs,
    }


def _limit(desk: Desk) -> float | None:
    """What the plan's gate asks for."""
    gates = [g for _, step in desk.playbook.ladder() for g in step.gates]
    return next((g.above for g in gates if isinstance(g, ShadowAgreementGate)), None)


def _rate(seen: agreement.Counts) -> View:
    total, bad = float(seen.n.sum()), float(seen.bad.sum())
    low, high = bernoulli.interval(bad, total, deff=bernoulli.design_effect(seen.n, seen.bad))
    return {
        "pairs": round(total),
        "acceptable": round(total - bad),
        "rate": (total - bad) / total if total else None,
        "low": 1 - high if total else None,
        "high": 1 - low if total else None,
        "identical": seen.by_kinds.get(frozenset(), 0),
    }


async def _kinds(
    desk: Desk, store: PairStore, seen: agreement.Counts, outlines: Sequence[Outline]
) -> list[View]:
    plan, ruled = desk.playbook.comparison, desk.rollout.differences
    total = round(float(seen.n.sum()))
    counted: dict[str, int] = {}
    for kinds, pairs in seen.by_kinds.items():
        for kind in kinds:
            counted[kind] = counted.get(kind, 0) + pairs
    worst = {
        kind: row.id for row in sorted(outlines, key=lambda r: r.score) for kind in row.kinds or ()
    }
    examples = {p.id: p for p in await store.pairs(desk.id, list(set(worst.values())))}
    rows: list[View] = []
    for kind, pairs in counted.items():
        example = examples.get(worst.get(kind, ""))
        said = ruled.get(kind, ruled.get(compare.family(kind)))
        rows.append(
            {
                "kind": kind,
                "what": compare.KINDS[compare.family(kind)][1],
                "pairs": pairs,
                "share": pairs / total if total else None,
                "blocking": not compare.acceptable(kind, plan.blocking, ruled),
                "ruled": None if said is None else "accepted" if said else "flagged",
                "example": None if example is None else _example(example, kind),
            }
        )
    weight = {kind: compare.KINDS[compare.family(kind)][0] for kind in counted}
    rows.sort(key=lambda r: (not r["blocking"], -r["pairs"] * weight[r["kind"]], r["kind"]))
    return rows


def _example(pair: Pair, kind: str) -> View:
    found = next((d for d in pair.differences or () if d.kind == kind), None)
    return {"id": pair.id, "asked": asked(pair), "text": found.text if found else ""}

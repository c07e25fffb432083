"""The page on what `--json` prints: from the models where there is one, else held to it by a test."""

import types
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec

from molt.core import events, findings
from molt.core.prediction import Prediction
from molt.core.rollout import Halt, Incident

STATE: Final[Mapping[str, str]] = {
    "rollout": "its id",
    "playbook": "the name of its plan",
    "playbook_hash": "SHA-256 of its plan",
    "version": "grows with every event; give it as `expected_version` with a command",
    "phase": "`shadow`, `canary`, `progressive`, `complete`, `rolled_back` or `aborted`",
    "plan_phase": "the phase of the plan that the step is in; null before the first",
    "step": "the step in that phase, from 0",
    "traffic_percent": "the share of subjects on the candidate that the rollout is at",
    "epoch": "counts what begins fresh evidence: steps, halvings, candidate versions",
    "agents": "the agent types that it covers",
    "candidate_version": "as the candidate reports it; null while it has reported none",
    "started_at": "when it began",
    "step_since": "when the present step was entered",
    "held_seconds": "how long the hold of this step has counted",
    "held_back": "what the operator's flags keep back, and how they let go; null where nothing",
    "halt": "why the climb stands still, a [Halt](#halt); null while it does not",
    "approved_by": "who approved leaving this step; null where nobody has",
    "gates": "each gate of the step: a [Ruling](#ruling), and `missing`, see below",
    "approval": "the approval that is asked for, see below; null where none is",
    "triggers": "each trigger: a [Ruling](#ruling), and `action`, what it does when it fires",
    "next": "the next step, see below; null while the rollout is not climbing",
    "alarms": "the alarms that are on: name to text",
    "anomalies": "the latest of what was unlike before: events `AnomalySeen`",
    "incidents": "all of them, see [Incident](#incident), and `open`",
    "arms": "`control` and `candidate` in this step, see below",
    "counted": "the outcome that the plan's first metric counts",
    "slos": "the candidate's objectives in this step, see below",
    "ladder": "every step of the plan, see below",
    "data_until": "until when gateways have told what they saw; null before anything came",
    "closed": "complete, and all tasks signed",
    "alerts_undelivered": "alerts that nobody has got, of all rollouts, see below",
}

PARTS: Final[Mapping[str, Mapping[str, str]]] = {
    "gates.missing": {
        "progress": "0 to 1",
        "seconds": "about how long the rest takes; null where it cannot be told",
        "units": "requests or subjects still to come; null where they are not counted",
    },
    "approval": {
        "asked_by": "a person, or `molt`",
        "asked_at": "when",
        "reason": "why",
        "beyond": "whether it is about going on past gates that wait",
        "digest": "stands for step, plan and evidence; `molt approve --digest` answers exactly that",
        "expires_at": "until when it can be given",
        "not_by": "who may not give it",
        "evidence": "the rulings as they were, each a [Ruling](#ruling)",
    },
    "next": {
        "phase": "the next step's phase, or `complete`",
        "share": "its share in percent",
        "earliest": "when it can begin by itself; null while the hold does not count",
        "earliest_by_person": "when a person can begin it",
    },
    "arms.control": {
        "mode": "`live` or `shadow`",
        "requests": "how many",
        "errors": "how many of them",
        "error_rate": "0 to 1; null without requests",
        "p50_ms": "median latency; null without requests",
        "p95_ms": "95th percentile",
        "cost": "USD of the requests with a known price; null where none has one",
        "cost_per_1000": "USD for 1,000 of those",
        "violations": "forbidden tool calls and model uses",
        "outcomes": "each outcome of the plan: how often over the whole rollout",
    },
    "slos": {
        "name": "which",
        "objective": "what is asked for; null where nothing is",
        "measured": "what was seen; null where nothing was",
        "met": "true, false, or null where it cannot be told",
    },
    "ladder": {
        "phase": "its phase",
        "step": "its number in the phase, from 0",
        "share": "percent",
        "hold": "at least so long",
        "planned": "the planned pace",
        "gates": "the kinds of its gates",
        "entered": "when it was last entered; null where never",
        "left": "when it was left; null where it was not",
    },
    "alerts_undelivered": {
        "id": "for `molt ack`",
        "severity": "`warning` or `critical`",
        "title": "as sent",
        "last_at": "the latest news",
        "attempts": "tries so far",
        "next_try": "when it is tried again; null when not",
        "detail": "what the targets answered",
    },
}
"""Parts of the state by their place in it."""

RECORD: Final[Mapping[str, str]] = {
    "seq": "the number in the log, from 1",
    "hash": "the record's hash, chained to the one before",
    "type": "the event's name, see below",
    "at": "when",
    "by": "a person, or `molt`",
    "reason": "why, empty where none was given",
}

SECTIONS: Final[Mapping[str, str]] = {
    "molt status": "molt-status",
    "molt history": "molt-history",
    "molt report": "molt-report",
    "molt incident list": "molt-incident",
    "molt incident show": "molt-incident",
}
"""Where the page says what a command prints."""


PLAIN: Final[Mapping[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    datetime: "time",
    type(None): "null",
    Any: "anything",
    Prediction: "as `molt plan --json`",
}


def json_type(annotation: Any) -> str:
    """A field's type as it is in JSON."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join(map(json_type, args))
    if origin in (tuple, list):
        return f"list of {json_type(args[0])}"
    if origin is dict:
        return f"map to {json_type(args[1])}"
    if (
        annotation not in PLAIN
        and isinstance(annotation, type)
        and issubclass(annotation, msgspec.Struct)
    ):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return PLAIN.get(annotation, str(annotation))


def json_page(note: str) -> str:
    """What `molt status`, `history`, `report` and `incident` print with `--json`."""
    return "\n".join(
        [
            note,
            "# What `--json` prints",
            "",
            "Times are UTC, as `2026-11-26T02:27:38.123456Z`. Fields may be added; none changes its "
            "meaning. The same comes from the [HTTP API](api.md): `/rollouts/ID`, `/rollouts/ID/history`, "
            "`/rollouts/ID/report`, `/incidents`, `/incidents/ID`. Of alerts, tasks and tokens: "
            "[alerts](alerts.md#for-scripts), [tasks](after.md), [tokens](access.md#api-tokens).",
            "",
            "## `molt status`",
            '<a id="molt-status"></a>',
            "",
            "One object, or an array where several rollouts go on; with `--watch` one object a line. Commands "
            "(`start`, `approve`, `promote`, ...) answer with the same.",
            "",
            *_texts(STATE),
            *(line for place, texts in PARTS.items() for line in _part(place, texts)),
            *_struct(events.Ruling),
            *_struct(Halt),
            "## `molt history`",
            '<a id="molt-history"></a>',
            "",
            "An array of records, each the fields that all have, and those of its event.",
            "",
            *_texts(RECORD),
            "| event | what | its own fields |",
            "| --- | --- | --- |",
            *map(_event, get_args(events.AnyEvent)),
            "",
            "## `molt report`",
            '<a id="molt-report"></a>',
            "",
            *_struct(findings.Report),
            *_struct(findings.MetricReport),
            *_struct(findings.Effect),
            *_struct(findings.Novelty),
            *_struct(findings.SampleRatio),
            "## `molt incident list`, `molt incident show`",
            '<a id="molt-incident"></a>',
            "",
            "An array of incidents, or one: the fields below, `rollout`, its rollout's id, and `open`, whether "
            "nobody has closed it. `show` adds `plan`, the steps of the rollback procedure that are planned for "
            "it: what is in `plan` and not in `steps` is ahead.",
            "",
            *_struct(Incident),
        ]
    )


def _texts(texts: Mapping[str, str]) -> list[str]:
    rows = [f"| `{name}` | {text} |" for name, text in texts.items()]
    return ["| field | what |", "| --- | --- |", *rows, ""]


def _part(place: str, texts: Mapping[str, str]) -> list[str]:
    also = " and `arms.candidate`" if place == "arms.control" else ""
    return [f"### `{place}`{also}", "", *_texts(texts)]


def _struct(model: type[msgspec.Struct]) -> list[str]:
    rows = [f"| `{f.name}` | {json_type(f.type)} |" for f in msgspec.structs.fields(model)]
    heading = [f"### {model.__name__}", "", _said(model), ""]
    return [*heading, "| field | type |", "| --- | --- |", *rows, ""]


def _event(model: type[msgspec.Struct]) -> str:
    own = [f for f in msgspec.structs.fields(model) if f.name not in RECORD]
    fields = ", ".join(f"`{f.name}` ({json_type(f.type)})" for f in own)
    return f"| `{model.__name__}` | {_said(model)} | {fields} |"


def _said(model: type[msgspec.Struct]) -> str:
    return " ".join((model.__doc__ or "").split()).replace("; None ", "; null ")

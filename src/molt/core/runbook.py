"""The on-call runbook of a plan: one section for each of its triggers, with its own numbers.

It names the hash of the plan that it was written for, so that an old copy can be told from a current one.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from molt.core.playbook import (
    AnyTrigger,
    ComplaintsTrigger,
    CostTrigger,
    ErrorRateTrigger,
    LatencyTrigger,
    Playbook,
)
from molt.core.quantities import show_duration, show_fraction

MARK: Final = "molt-playbook"

ACTIONS: Final = {
    "roll_back": "Molt has taken all traffic back to the existing system and carries out the rollback "
    "procedure. Users are safe; there is no hurry.",
    "halve": "Molt has halved the traffic and holds it there. If the condition lasts, it halves again.",
    "pause": "Molt has stopped the climb; traffic stays as it is. Decide whether it may.",
    "review": "Molt holds the climb until somebody has looked. Traffic stays as it is.",
}

INSTEAD: Final = (
    ("halve", "the candidate had traffic"),
    ("pause", "it had none to halve, as in shadow"),
    ("roll_back", "half of its share would have been next to nothing"),
)
"""What a trigger that halves does, and when: `core.decide` takes what is possible."""

GO_ON: Final = "Going on is a person's decision, from a named phase: `molt resume --phase shadow --reason 'TEXT'`."

KEPT: Final = (
    "`molt incident show ID` has the evidence as it was and the timeline; a rollback's preserved logs "
    "are on the incident's page in the console.",
    "Write down what you find: `molt incident note ID 'TEXT'`; close it with its cause: "
    "`molt incident close ID --cause 'TEXT'`.",
)


class Section(NamedTuple):
    """What to do when one trigger has fired."""

    anchor: str
    title: str
    means: str
    look: tuple[str, ...]


def hash_in(text: str) -> str | None:
    """The hash of the plan that a runbook says it was written for."""
    found = re.search(rf"<!-- {MARK}: ([0-9a-f]{{64}}) -->", text)
    return found[1] if found else None


def anchors_in(text: str) -> set[str]:
    """The sections that a runbook has, by anchor."""
    return set(re.findall(r'<a id="([a-z_]+)"></a>', text))


def anchors(playbook: Playbook) -> list[str]:
    """The sections that the runbook of this plan must have."""
    kinds = dict.fromkeys(trigger.kind for trigger in playbook.triggers)
    return [*kinds, "person", "gate", "alarm"]


def problems(text: str, playbook: Playbook) -> list[str]:
    """What is wrong with `text` as the runbook of this plan; nothing when it is current."""
    found, wanted = hash_in(text), playbook.hash()
    missing = [a for a in anchors(playbook) if a not in anchors_in(text)]
    wrong: list[str] = []
    if found is None:
        wrong.append(f"it does not say which plan it is for (a line <!-- {MARK}: HASH -->)")
    elif found != wanted:
        wrong.append(f"it was written for plan {found[:12]}, the plan is {wanted[:12]}")
    if missing:
        wrong.append(f"sections missing: {', '.join(missing)}")
    return wrong


def runbook(playbook: Playbook) -> str:
    """The runbook as Markdown."""
    lines = [
        f"<!-- {MARK}: {playbook.hash()} -->",
        f"# On-call runbook: {playbook.title or playbook.name}",
        "",
        f"For plan `{playbook.name}`, hash `{playbook.hash()[:12]}`. Every alert links to its section.",
        "",
        "**In any doubt**: `molt rollback --reason 'TEXT'`, or *Roll back now* in the console. All traffic "
        "is on the existing system within a second, whatever else is going on. Nothing restarts by "
        "itself.",
        "",
        "If neither can be reached: on the machine that Molt runs on, write `MOLTBOT_ENABLED=false` into "
        "the flags file (`flags_file` in molt.yaml, else `flags.env` in Molt's data directory). Molt's "
        "control reads it every second, also when nobody can talk to it. Without control, gateways serve "
        "the existing system once `flags_ttl` is over (10 minutes, unless molt.yaml says otherwise).",
        "",
        "First, say that you are on it: `molt ack`, the button on the alerts page, or the link in the "
        "alert. Commands need `MOLT_URL` and `MOLT_TOKEN`, a token with the role operator; below, ID is "
        "the incident's, from the alert or `molt incident list`.",
        "",
    ]
    for trigger in _first_of_each(playbook.triggers):
        lines += _lines(_SECTIONS[trigger.kind](trigger), trigger.action, playbook)
    for section in _OTHERS:
        lines += _lines(section, None, playbook)
    return "\n".join(lines).rstrip() + "\n"


def _first_of_each(triggers: Sequence[AnyTrigger]) -> list[AnyTrigger]:
    by_kind: dict[str, AnyTrigger] = {}
    for trigger in triggers:
        by_kind.setdefault(trigger.kind, trigger)
    return list(by_kind.values())


def _lines(section: Section, action: str | None, playbook: Playbook) -> list[str]:
    steps = [*section.look, *(KEPT if action else ())]
    if action == "roll_back":
        done = ", ".join(step.replace("_", " ") for step in playbook.procedure)
        steps.insert(0, f"See that the procedure is through ({done}): `molt incident show ID`.")
        steps.append(GO_ON)
    elif action:
        after = "; after a rollback with `--phase shadow`" if action == "halve" else ""
        steps.append(
            f"Let the climb go on with a fresh hold: `molt resume --reason 'TEXT'`{after}."
        )
    return [
        f'<a id="{section.anchor}"></a>',
        f"## {section.title}",
        "",
        section.means,
        "",
        *(_done(action) if action else []),
        *[f"{number}. {step}" for number, step in enumerate(steps, 1)],
        "",
    ]


def _done(action: str) -> list[str]:
    """What Molt has done when the trigger fired, as paragraphs."""
    if action != "halve":
        return [ACTIONS[action], ""]
    cases = [f"- **{name}** ({when}): {ACTIONS[name]}" for name, when in INSTEAD]
    return ["What Molt did stands in the alert and in the incident:", "", *cases, ""]


def _error_rate(t: AnyTrigger) -> Section:
    assert isinstance(t, ErrorRateTrigger)
    return Section(
        "error_rate",
        "Error rate",
        f"The agent's error rate was above {show_fraction(t.above)} for {show_duration(t.for_)}.",
        (
            "Is it one kind of error? *Analytics* counts them by class and by agent. `molt audit export "
            "--start T --end T` around the incident has each request: its `status`, and in `fallback` "
            "why control had to answer in the agent's place.",
            "Did something change just before? `molt history` shows candidate versions and notes; ask "
            "who deploys the agent, its model provider's status page, the tools it calls.",
            "Does the existing system err as well? Then it is the shared part (network, database), and "
            "the agent is not to blame.",
        ),
    )


def _latency(t: AnyTrigger) -> Section:
    assert isinstance(t, LatencyTrigger)
    return Section(
        "latency",
        "Latency",
        f"The agent's p{t.quantile * 100:g} was above {show_duration(t.above)} for "
        f"{show_duration(t.for_)}.",
        (
            "Slow model, or slow tools? Follow a slow run from *Monitoring* in the console: its waterfall "
            "shows which call took the time.",
            "Compare with the existing system's latency beside it: is the machine or the network slow?",
            "Halved: does it recover at half the traffic? Then it is load: more workers for the agent, "
            "a smaller model, fewer tool calls.",
        ),
    )


def _violation(_: AnyTrigger) -> Section:
    return Section(
        "violation",
        "Security violation",
        "The agent called a tool that its policy forbids, or one of your systems reported a violation. "
        "One is enough.",
        (
            "Which tool, which agent, which run? The incident's detail names them; *Audit* in the console "
            "finds everything of the run by its id.",
            "Was the call executed or denied? Denied by Molt's tool egress: nothing happened. Only "
            "observed: assume that it was executed, and undo what it did.",
            "Prompt injection? Read what the user, or a document that the agent read, had said before. "
            "Tell security before the traces are gone.",
            "Do not resume before the policy or the prompt has been changed and reviewed.",
        ),
    )


def _cost(t: AnyTrigger) -> Section:
    assert isinstance(t, CostTrigger)
    return Section(
        "cost",
        "Cost",
        f"Requests cost more than {t.above:g} times what was projected, the day's cap was reached, or a "
        "share of the budget (50, 80, 100%) was used up; the alert says which.",
        (
            "More requests, or dearer ones? *Analytics*, compared by step, has tokens, tool calls and "
            "cost for a request in this step and the one before.",
            "One user, or all? A loop of one client shows in *Monitoring* as a few runs with very many "
            "tokens.",
            "Has the model or its price changed? `molt history` has candidate versions.",
            "Too dear at this share even so: `molt rollback --reason 'TEXT'`. An alert about the budget alone "
            "has stopped nothing: `molt pause --reason 'TEXT'`.",
        ),
    )


def _complaints(t: AnyTrigger) -> Section:
    assert isinstance(t, ComplaintsTrigger)
    return Section(
        "complaints",
        "User complaints",
        f"More than {t.above} complaints about the agent within {show_duration(t.within)}, or provably "
        "more often than about the existing system.",
        (
            "Read them all, in the system that reports them to Molt, before anything else; are they about "
            "one thing?",
            "Search *Audit* in the console for the user's id: which requests, which tools were called for "
            "them. What the agent says to users is not kept; *Shadow* has what it answered before, beside "
            "the existing system's answers.",
            "A wrong answer that could hurt somebody is a reason to roll back now, whatever the count.",
        ),
    )


_SECTIONS: Final = {
    "error_rate": _error_rate,
    "latency": _latency,
    "violation": _violation,
    "cost": _cost,
    "complaints": _complaints,
}

_OTHERS: Final = (
    Section(
        "person",
        "A person rolled back",
        "Somebody took the traffic back by hand; the incident has the reason that they gave.",
        (
            "Ask them what they saw, and put it into the incident: `molt incident note ID 'TEXT'`.",
            "See that the procedure is through: `molt incident show ID`.",
            "Close it with its cause: `molt incident close ID --cause 'TEXT'`.",
            GO_ON,
        ),
    ),
    Section(
        "gate",
        "A gate failed, or a question is asked",
        "Evidence says that the agent is worse than it may be at this step, a gate has waited longer "
        "than the longest hold, or a step waits for an approval.",
        (
            "`molt status` says which gate, with the numbers; `molt report` has the metrics.",
            "An approval is asked, all else has passed: tell whoever approves; there is no hurry.",
            "Failed and rolled back: treat it as any rollback; the agent needs a change, not a retry.",
            "A question about a gate that waits: give it more traffic or time, or two people decide to "
            "go on: `molt promote --reason 'TEXT'`, then another's `molt approve`.",
        ),
    ),
    Section(
        "alarm",
        "An alarm",
        "Something decides nothing by itself, but somebody must know: no data although traffic is due, "
        "subjects not split as they should be, a flags file that cannot be read, a store that is away.",
        (
            "*blind*: do gateways reach control (`molt flags` lists them)? Is traffic coming in at all?",
            "*sample_ratio*: something loses or adds users on one arm; gates stay frozen until it is "
            "found.",
            "*flags_file*: the last good flags stay in force; mend the file, it is read again at once.",
            "*agent_down*: the agent's health check does not answer; users are served by the existing "
            "system. Ask whoever runs the agent.",
            "*store*: full, locked or read-only; make room, mend permissions. Until then nothing advances, and "
            "a rollback is carried out unrecorded.",
            "*Molt is down*, or *no gateway is heard*: is `molt serve` running? Its own log says why it ended. "
            "Users go on being served, by the existing system alone once `flags_ttl` is over.",
            "*undelivered*: `molt alerts list` and the alerts page say what the targets answered; mend "
            "`notify` in molt.yaml. `molt ack` takes an alert off that has been read.",
            "*unlike before*: an agent did what it had never done, or in amounts it never had: a tool, a "
            "kind of argument or error, tokens, cost, latency. Look whether it should; if it did harm, "
            "roll back.",
            "Gone again? `molt status` names the alarms that are on; what came and went is in "
            "`molt history`.",
        ),
    ),
)

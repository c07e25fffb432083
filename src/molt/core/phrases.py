"""Numbers of a comparison as plain sentences: what a product owner reads."""

from typing import Final

from molt.core.findings import Effect, MetricReport, Report

VERDICTS: Final = {"pass": "fine", "fail": "worse", "wait": "open", "none": "not judged"}

_SOON: Final = 2.0
_DAY: Final = 24.0
_LONG: Final = 60 * _DAY


def percent(value: float) -> str:
    """`+4.2%`, `-0.3%`: a relative change with its sign."""
    shown = f"{100 * value:+.1f}"
    return ("0.0" if shown in ("+0.0", "-0.0") else shown) + "%"


def level(kind: str, value: float) -> str:
    """A figure of that kind of metric: a share, a mean, or events per 1,000."""
    if kind == "conversion":
        return f"{100 * value:.1f}%"
    if kind == "count":
        return f"{1000 * value:.3g} a 1,000"
    return f"{value:,.4g}"


def span(hours: float) -> str:
    """`40 minutes`, `5 hours`, `3 days`."""
    if hours < _SOON:
        return f"{max(1, round(60 * hours))} minutes"
    return f"{hours:.0f} hours" if hours < 2 * _DAY else f"{hours / _DAY:.0f} days"


def sentence(row: MetricReport) -> str:
    """What is known of one metric of a report, what it means, and what is missing."""
    effect = row.effect
    if effect is None and row.verdict in ("pass", "fail"):
        return f"{row.reason}. Too little has been seen of both arms for an interval."
    if effect is None:
        return f"{row.title}: too little has been seen of both arms yet to say anything."
    parts = [
        f"{row.title}: {level(row.kind, effect.candidate)} with the agent, "
        f"{level(row.kind, effect.control)} without it{_change(effect)}.",
        _meaning(row),
        _novelty(row),
    ]
    return " ".join(part for part in parts if part)


def _change(effect: Effect) -> str:
    if effect.relative is None:
        return ""
    low, high, between = effect.relative_low, effect.relative_high, ""
    if low is not None and high is not None:
        between = f" (at 95% between {percent(low)} and {percent(high)})"
    return f", that is {percent(effect.relative)}{between}"


def _meaning(row: MetricReport) -> str:
    matters = f"{100 * row.margin:.3g}%" if row.margin else ""
    if row.verdict == "fail":
        return {
            "higher": "Proven worse: the agent lowers it.",
            "lower": "Proven worse: the agent raises it.",
            "same": "Proven to have moved by more than was agreed.",
        }[row.better]
    if row.verdict == "pass":
        if row.better == "same":
            return f"Proven stable: it has moved by less than {matters} either way."
        if row.kind == "count" and row.margin:
            return f"Proven to stay below {1 + row.margin:g} times what it is without the agent."
        return f"Proven not worse by the {matters} that would matter here."
    if row.verdict == "none":
        return "No gate of the plan looks at it."
    if row.novelty.blocks:
        return ""
    if row.more_hours is None:
        return f"Not proven to be within the {matters} that would matter." if matters else ""
    if row.more_hours > _LONG:
        return f"Not proven to be within {matters}, and at this pace it will not be for months."
    return f"Not proven to be within {matters} yet; at this pace about {span(row.more_hours)} more."


def _novelty(row: MetricReport) -> str:
    late = row.novelty.effect
    if late is None or late.relative is None:
        return ""
    who = f"users who have had the agent for at least {span(row.novelty.at_least)}"
    if row.novelty.blocks:
        return f"Among {who} it is {percent(late.relative)}, beyond the margin: the rollout waits."
    return f"Among {who}: {percent(late.relative)}."


def headline(report: Report) -> str:
    """The whole report in two sentences."""
    if report.sample_ratio.mismatch:
        return (
            "Nothing here can be trusted: new users are not split between the arms as planned. "
            "Find out why before you look at any figure."
        )
    if not any(row.effect for row in report.metrics):
        return "No user has met both arms for long enough to compare them yet."
    worse = [row.title for row in report.metrics if row.verdict == "fail"]
    waiting = [row.title for row in report.metrics if row.verdict == "wait"]
    fine = [row.title for row in report.metrics if row.verdict == "pass"]
    where = f"At {report.share:g}%, after {span(report.hours)} of comparison"
    if worse:
        return f"{where}: the agent is worse in {_list(worse)}. Do not go on."
    if waiting:
        done = f" {_list(fine)} {'is' if len(fine) == 1 else 'are'} fine." if fine else ""
        return f"{where}: nothing is proven worse; still open: {_list(waiting)}.{done}"
    if not fine:
        return f"{where}: no gate of this step looks at these figures, so none is proven fine or worse."
    return f"{where}: every figure that the plan looks at is proven fine."


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

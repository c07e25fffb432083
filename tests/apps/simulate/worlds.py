"""Small scenarios for tests: a plan of hours instead of weeks."""

from typing import Any

from molt.adapters.playbooks import parse_playbook
from molt.apps.simulate.scenario import Scenario
from molt.core.playbook import Playbook

PLAN = """
molt: 1
name: short
agents: {guest: {}}
metrics:
  orders: {of: ordered, per: [ordered, left], better: higher, binary: true}
  response: {of: response, value: true, per: [response], better: lower}
  length: {of: requests, per: [conversations], better: same}
  tickets: {of: ticket, per: [requests], better: lower}
phases:
  - name: shadow
    steps: [{share: 0, hold: 1h, gates: [{kind: no_violation}]}]
  - name: canary
    steps:
      - share: 5
        hold: 2h
        gates: [&safe {kind: no_degradation, metrics: [orders, response], margin: 50%}]
      - share: 20
        hold: 2h
        gates: [*safe, {kind: error_rate, below: 2%}, {kind: stable, metric: length, within: 20%}]
  - name: progressive
    steps:
      - {share: 50, hold: 2h, gates: [*safe, {kind: approval}]}
      - {share: 100, hold: 1h, gates: [{kind: no_critical_error, for: 1h}]}
triggers:
  - {kind: error_rate, above: 5%, for: 5m, action: roll_back}
  - {kind: latency, quantile: 95%, above: 5s, for: 10m, action: halve}
  - {kind: violation, action: roll_back}
  - {kind: cost, above: 3, action: pause}
  - {kind: complaints, above: 10, within: 1h, action: review}
cost: {projected_per_request: 0.002}
"""

PLAN = PLAN.replace("&safe ", "").replace(
    "*safe", "{kind: no_degradation, metrics: [orders, response], margin: 50%}"
)


def plan() -> Playbook:
    """Nine hours from shadow to 100%."""
    return parse_playbook(PLAN, "short.yaml")


def scenario(**more: Any) -> Scenario:
    """A busy day: enough traffic to prove things within hours."""
    base: dict[str, Any] = {
        "days": 1.5,
        "users": {"count": 8000},
        "arrivals": {"requests_per_day": 200_000},
        "operators": {"approve_after": "20m"},
    }
    return Scenario.model_validate({**base, **more})

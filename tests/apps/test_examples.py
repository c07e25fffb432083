"""What examples/ and the shipped files say is true."""

from pathlib import Path

import pytest

from molt.adapters.playbooks import load_playbook, shipped
from molt.apps.settings import load_settings
from molt.core.playbook import Playbook

EXAMPLES = Path("examples")


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_playbook_loads_and_survives_being_written_as_data(name: str) -> None:
    plan = load_playbook(name)
    assert Playbook.model_validate(plan.as_data()) == plan
    assert Playbook.model_validate_json(plan.canonical()).hash() == plan.hash()


def test_a_playbook_without_shadow_and_with_a_hold_back_loads() -> None:
    plan = load_playbook(str(EXAMPLES / "support-desk.yaml"))
    assert [step.share for _, step in plan.ladder()] == [5, 20, 95]


def test_the_example_configuration_loads() -> None:
    settings = load_settings(EXAMPLES / "behind-tls.yaml", {})
    assert settings.upstreams.candidate.health == "/health"


def test_the_demo_playbook_skips_nothing_of_wf_11() -> None:
    plan, demo = load_playbook("wf-11"), load_playbook("wf-11-demo")
    kinds = [
        [
            # The demo also rules on the comparison, which WF-11 has people look at.
            (phase.name, step.share, [g.kind for g in step.gates if g.kind != "shadow_agreement"])
            for phase, step in p.ladder()
        ]
        for p in (plan, demo)
    ]
    assert kinds[0] == kinds[1]
    assert [(t.kind, t.action) for t in plan.triggers] == [
        (t.kind, t.action) for t in demo.triggers
    ]
    assert demo.limits == plan.limits
    assert demo.slos == plan.slos
    assert demo.procedure == plan.procedure
    assert demo.agents == plan.agents
    assert demo.metrics == plan.metrics

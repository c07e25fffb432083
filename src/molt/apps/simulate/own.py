"""The user's own plan and money, as `molt plan` plays them."""

import os
from pathlib import Path
from typing import NamedTuple

from molt.adapters.playbooks import load_playbook
from molt.adapters.prices import Prices
from molt.apps.settings import Settings, load_settings
from molt.apps.simulate.scenario import Scenario
from molt.core.playbook import Playbook


class Own(NamedTuple):
    """A plan with the operator's money in it, and the configuration it came from, if any."""

    playbook: Playbook
    settings: Settings | None


def own_plan(config: Path | None, playbook: str | None) -> Own:
    """The plan that is named, else that of the config (its file may lie beside it), else WF-11.

    Raises `OperatorError`.
    """
    if config is None:
        return Own(load_playbook(playbook or "wf-11"), None)
    settings = load_settings(config, os.environ)
    beside = config.parent / settings.playbook
    named = str(beside) if beside.is_file() else settings.playbook
    return Own(load_playbook(playbook or named).with_money(settings.cost), settings)


def own_world(scenario: Scenario, own: Own, *, traffic: float, users: int) -> tuple[Scenario, str]:
    """The scenario with so much traffic and the user's own cost of a request, and that in words.

    A projected cost counts first, then the price of the agent's model for the scenario's tokens.
    """
    cost, found = scenario.cost, "a scenario's"
    settings, projected = own.settings, own.playbook.cost.projected_per_request
    model = settings.agents.model if settings else None
    if projected is not None:
        cost, found = cost.model_copy(update={"per_request": projected}), "as projected"
    elif settings is not None and model is not None:
        priced = Prices(settings.prices).cost(model, cost.tokens_in, cost.tokens_out)
        if priced is None:
            found = f"a scenario's: no price of {model} is known"
        else:
            cost = cost.model_copy(update={"per_request": priced})
            found = f"{cost.tokens_in} and {cost.tokens_out} tokens of {model}"
    world = scenario.model_copy(
        update={
            "arrivals": scenario.arrivals.model_copy(update={"requests_per_day": traffic}),
            "users": scenario.users.model_copy(update={"count": users}),
            "cost": cost,
        }
    )
    return world, f"{cost.per_request:.4g} USD a request ({found})"

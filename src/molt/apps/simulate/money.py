"""What requests cost, and how many tokens they take."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from molt.apps.simulate import scenario
from molt.apps.simulate.curves import data_file, read_rows
from molt.apps.simulate.stream import Floats, Ints

_RECORDED: Final = {
    "burstgpt3_first_rows": "burstgpt3_first_rows/first_188_rows.csv.gz",
    "azure_llm_2023": "azure_llm_2023/conv_first_half.csv.gz",
}


@dataclass(frozen=True)
class Money:
    """Gamma-distributed costs in USD, and mean tokens of a request."""

    per_request: float
    spread: float
    tokens_in: float
    tokens_out: float

    def drawn(self, rng: np.random.Generator, requests: Ints, factor: float) -> Floats:
        """What so many requests cost together, per statistics bucket."""
        mean = self.per_request * factor
        if not mean:
            return np.zeros(len(requests))
        shape = 1 / self.spread**2
        return rng.gamma(np.maximum(requests, 1e-9) * shape, mean / shape) * (requests > 0)

    def tail(
        self, rng: np.random.Generator, requests: Ints, share: float, times: float, cap: float
    ) -> tuple[Floats, Floats]:
        """What a share of requests costs that are `times` as dear, and the same capped."""
        hit = rng.binomial(requests, share)
        one = self.per_request * times
        return hit * one, hit * min(one, cap)


def money_of(model: scenario.Money, data: Path) -> Money:
    """The scenario's costs; a recorded set gives mean tokens and spread, not prices."""
    if model.recorded is None:
        return Money(model.per_request, model.spread, model.tokens_in, model.tokens_out)
    rows = read_rows(data_file(_RECORDED[model.recorded], data))
    asked = np.array([float(row["input_tokens"]) for row in rows])
    told = np.array([float(row["output_tokens"]) for row in rows])
    weighed = asked + 4 * told  # output tokens cost about four times as much everywhere
    spread = float(weighed.std() / weighed.mean())
    return Money(model.per_request, spread, float(asked.mean()), float(told.mean()))

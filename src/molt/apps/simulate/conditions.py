"""What the effects and faults of a scenario do to its figures, and when."""

import numpy as np

from molt.apps.simulate.scenario import Fault, Scenario
from molt.apps.simulate.stream import Floats
from molt.apps.simulate.timeline import Timeline
from molt.core.assignment import CANDIDATE, Arm


class Conditions:
    """Figures by time, seconds since 1970, as the scenario changes them."""

    def __init__(self, scenario: Scenario, timeline: Timeline) -> None:
        self._scenario = scenario
        self._timeline = timeline

    def faults(self, kind: str) -> list[Fault]:
        """All faults of that kind."""
        return [fault for fault in self._scenario.faults if fault.kind == kind]

    def seen(self, arm: Arm, times: Floats) -> Floats:
        """1 where evidence of this arm comes in, 0 where it is lost."""
        seen = np.ones(len(times))
        for fault in self.faults("no_data"):
            if fault.arm in (arm, "both"):
                seen[self._timeline.active(fault, times)] = 0
        return seen

    def error_rates(self, arm: Arm, times: Floats) -> Floats:
        """The part of requests that fails."""
        service = self._scenario.candidate if arm == CANDIDATE else self._scenario.control
        rates = np.full(len(times), service.errors)
        if arm == CANDIDATE:
            rates = self.affected("error_rate", rates, times)
            for fault in self.faults("dead_agent"):
                rates[self._timeline.active(fault, times)] = 1.0
        for fault in self.faults("outage"):
            if fault.arm in (arm, "both"):
                hit = self._timeline.active(fault, times)
                rates[hit] = np.maximum(rates[hit], fault.rate)
        return np.clip(rates, 0.0, 1.0)

    def slowness(self, arm: Arm, times: Floats) -> Floats:
        """How many times as long answers take."""
        factors = np.ones(len(times))
        if arm == CANDIDATE:
            factors = self.affected("latency", factors, times)
        for fault in self.faults("slow"):
            if fault.arm in (arm, "both"):
                factors[self._timeline.active(fault, times)] *= fault.factor
        return factors

    def affected(self, name: str, values: Floats, times: Floats) -> Floats:
        """A built-in figure of the candidate, as the effects change it."""
        for effect in self._scenario.effects:
            if effect.metric == name:
                hit = self._timeline.active(effect, times)
                values[hit] = effect.to if effect.size is None else values[hit] * effect.size
        return values

    def figure(self, name: str, base: float, at: float) -> float:
        """The same at one time."""
        return float(self.affected(name, np.array([base]), np.array([at]))[0])

    def broken(self, at: float) -> bool:
        """Whether anything makes requests of the candidate fail."""
        kinds = ("outage", "dead_agent", "retrying_user")
        hit = [e for e in self._scenario.effects if e.metric == "error_rate"]
        hit += [f for f in self._scenario.faults if f.kind in kinds]
        return any(self._timeline.now(one, at) for one in hit)

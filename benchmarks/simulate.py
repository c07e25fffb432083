"""Four weeks of WF-11 at a million requests a day on one core, and what one decision takes."""

import asyncio
import resource
import time
from datetime import timedelta

from benchmarks.rules import one_decision

from molt.adapters.playbooks import load_playbook
from molt.apps.simulate.run import ROLLOUT, Simulation
from molt.apps.simulate.scenario import Scenario
from molt.core.decide import decide


def simulated(days: int) -> Simulation:
    """A healthy rollout; without complaints, since the literal count of ten an hour would end it."""
    scenario = Scenario.model_validate(
        {
            "days": days,
            "arrivals": {"requests_per_day": 1_000_000},
            "users": {"count": 50_000},
            "complaints_per_1000": 0,
        }
    )
    return Simulation(scenario, load_playbook("wf-11"), 1)


def main() -> None:
    simulation = simulated(days=28)
    begin = time.process_time()
    course = asyncio.run(simulation.run())
    taken = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"four weeks of WF-11 at 1,000,000 requests a day: {taken:.1f} s of one core, {memory:.0f} MB"
    )
    print(f"  {course.requests:,} requests, {course.looks} looks; goal: below 10 s and 300 MB")
    simulation = simulated(days=20)
    asyncio.run(simulation.run())
    desk = simulation.controller.desks[ROLLOUT]
    scene = desk.scene(simulation.clock.now() + timedelta(seconds=1))
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        decide(scene)
        times.append(time.perf_counter() - begin)
    strata = len(scene.live_epochs())
    print(
        f"one decision in {desk.rollout.phase} with {strata} strata, nothing new: "
        f"{sorted(times)[100] * 1000:.2f} ms; goal: below 1 ms"
    )
    look = one_decision.scene()
    for changed in (0, 1, one_decision.METRICS):
        took = one_decision.milliseconds(look, changed)
        print(f"one decision at 10 metrics x 12 strata, {changed} of them changed: {took:.2f} ms")


if __name__ == "__main__":
    main()

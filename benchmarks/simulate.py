"""Four weeks of WF-11 at a million requests a day on one core, and one decision of its last step."""

import resource
import time
from datetime import timedelta

from molt.adapters.playbooks import load_playbook
from molt.apps.simulate.run import ROLLOUT, Simulation
from molt.apps.simulate.scenario import Scenario
from molt.core.decide import decide


def main() -> None:
    import asyncio

    scenario = Scenario.model_validate(
        {"days": 28, "arrivals": {"requests_per_day": 1_000_000}, "users": {"count": 50_000}}
    )
    simulation = Simulation(scenario, load_playbook("wf-11"), 1)
    begin = time.process_time()
    course = asyncio.run(simulation.run())
    taken = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"four weeks of WF-11 at 1,000,000 requests a day: {taken:.1f} s of one core, {memory:.0f} MB"
    )
    print(f"  {course.requests:,} requests, {course.looks} looks; goal: below 10 s and 300 MB")
    desk = simulation.controller.desks[ROLLOUT]
    scene = desk.scene(simulation.clock.now() + timedelta(seconds=1))
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        decide(scene)
        times.append(time.perf_counter() - begin)
    strata = len(scene.live_epochs())
    print(
        f"one decision with {strata} strata: {sorted(times)[100] * 1000:.2f} ms; goal: below 1 ms"
    )


if __name__ == "__main__":
    main()

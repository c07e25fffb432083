"""Many seeds on all cores; what is done stays done."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

from molt.apps.simulate.course import Course
from molt.apps.simulate.run import DATA, run
from molt.apps.simulate.scenario import Scenario
from molt.core.playbook import Playbook

Done = Callable[[Course], None]


def run_seeds(
    scenario: Scenario,
    playbook: Playbook,
    seeds: Sequence[int],
    *,
    name: str,
    data: Path = DATA,
    jobs: int | None = None,
    sample_every: timedelta | None = None,
    done: Done = lambda _: None,
) -> tuple[list[Course], bool]:
    """The courses of all seeds in order, and whether somebody interrupted (then those done).

    Each seed is a world of its own, so the result is the same on any number of cores.
    `sample_every` samples the first seed's gates, for a report.
    """
    jobs = min(jobs or os.cpu_count() or 1, len(seeds))
    tasks = [
        (scenario, playbook, seed, name, data, sample_every if i == 0 else None)
        for i, seed in enumerate(seeds)
    ]
    courses: list[Course] = []
    try:
        with _workers(jobs) as each:
            for course in each(tasks):
                courses.append(course)
                done(course)
    except KeyboardInterrupt:
        return sorted(courses, key=lambda c: c.seed), True
    return sorted(courses, key=lambda c: c.seed), False


Task = tuple[Scenario, Playbook, int, str, Path, timedelta | None]


def _one(task: Task) -> Course:
    scenario, playbook, seed, name, data, every = task
    return run(scenario, playbook, seed, name=name, data=data, sample_every=every)


@contextmanager
def _workers(jobs: int) -> Iterator[Callable[[Sequence[Task]], Iterator[Course]]]:
    if jobs == 1:
        yield lambda tasks: map(_one, tasks)
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _ignore_interrupts)
    running: list[Future[Course]] = []

    def each(tasks: Sequence[Task]) -> Iterator[Course]:
        running.extend(pool.submit(_one, task) for task in tasks)
        for future in as_completed(running):
            yield future.result()

    try:
        yield each
    except BaseException:
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C is for the parent, which keeps what is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

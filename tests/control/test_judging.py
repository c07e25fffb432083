"""A judge's opinion is kept with the pair, within a budget; a judge that fails changes nothing."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.control.house import House
from tests.control.test_shadowing import compare, raw, ruling, shadow_plan, shadowing, side

from molt.adapters.judge import ModelJudge
from molt.adapters.prices import Prices
from molt.control.judging import Budget, Judging


class Model:
    """A real HTTP server that speaks as an OpenAI-compatible API does."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.says = '{"score": 0.25, "reason": "another price"}'
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model.asked.append(body | {"authorization": self.headers["authorization"]})
                choice = {"message": {"role": "assistant", "content": model.says}}
                usage = {"prompt_tokens": 100, "completion_tokens": 10}
                data = json.dumps({"choices": [choice], "usage": usage}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def model() -> Iterator[Model]:
    running = Model()
    yield running
    running.stop()


@pytest.fixture
async def house(tmp_path: Path) -> House:
    made = await House(tmp_path / "house", shadow_plan()).start()
    await made.begin()
    return made


async def judged(house: House, model: Model, pairs: int, **budget: Any) -> tuple[Judging, Any]:
    judge = ModelJudge(
        model.url, "gpt-4o-mini", key="k", rubric="Right prices?",
        prices=Prices({}, house.clock), now=house.clock.now,
    )  # fmt: skip
    limits = {"per_minute": 10, "usd_per_day": 1.0, "usd_per_call": 0.01} | budget
    at_work = shadowing(house)
    judging = Judging(judge, Budget(**limits), at_work, house.store, house.clock)
    at_work.seen.append(judging.see_pairs)
    ours, theirs = side("One latte, $4.40"), side("One latte, $9.90")
    await compare(house, at_work, [raw(house, n, ours, theirs) for n in range(pairs)])
    return judging, judge


async def test_the_judges_word_stands_beside_the_comparison_and_changes_no_ruling(house, model):
    judging, judge = await judged(house, model, 1)
    before = ruling(house)

    assert await judging.judge_next()
    assert not await judging.judge_next()

    (pair,) = await house.store.pairs("r1", ["run0000"])
    assert (pair.judged.score, pair.judged.reason) == (0.25, "another price")
    assert pair.judged.cost > 0
    assert pair.kinds == {"prices"}
    assert ruling(house) == before
    assert model.asked[0]["authorization"] == "Bearer k"
    assert "Right prices?" in model.asked[0]["messages"][0]["content"]
    await judge.close()


async def test_calls_a_minute_and_money_a_day_are_never_exceeded(house, model):
    judging, judge = await judged(house, model, 9, per_minute=2)
    assert [await judging.judge_next() for _ in range(3)] == [True, True, False]
    await house.clock.advance(61)
    assert await judging.judge_next()
    await judge.close()

    poor, other = await judged(house, model, 9, usd_per_day=0.009)
    assert not await poor.judge_next()
    assert len(model.asked) == 3
    await other.close()


async def test_a_judge_that_talks_nonsense_changes_nothing(house, model):
    model.says = "I would rather not."
    judging, judge = await judged(house, model, 1)
    before = ruling(house)
    assert await judging.judge_next()
    (pair,) = await house.store.pairs("r1", ["run0000"])
    assert pair.judged is None
    assert ruling(house) == before
    await judge.close()

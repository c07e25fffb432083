"""Tools inside the agent's process get the same policy and dry run, or are not called."""

import asyncio
import socket
import subprocess
import sys

import pytest
from typing_extensions import TypedDict

from molt.egress.settings import ToolService
from molt.guard import Denied, Unreachable, guard, run

from .tools_world import House


class Line(TypedDict):
    """A line of a cart."""

    item: str
    quantity: int


class Till:
    """Guarded functions that count when they really run."""

    def __init__(self, url: str) -> None:
        self.done: list[str] = []

        @guard("cart_add", url=url)
        async def add(item: str, quantity: int = 1) -> Line:
            self.done.append("add")
            return Line(item=item, quantity=quantity)

        @guard("cart_note", url=url)
        def note(text: str) -> None:
            self.done.append("note")

        @guard(read_only=True, url=url)
        async def menu_search(query: str) -> list[str]:
            self.done.append("search")
            return [query]

        @guard(url=url)
        async def approve_all() -> bool:
            self.done.append("approve")
            return True

        self.add, self.note, self.search, self.approve = add, note, menu_search, approve_all


async def test_a_run_that_is_told_no_only_when_it_acts_may_still_finish_its_answer():
    async with House().open() as house:
        till, acting, reading = Till(house.url), house.token(), house.token()
        house.say(enabled=False)
        with run(reading):
            assert await till.search("tea") == ["tea"]
        with run(acting), pytest.raises(Denied):
            await till.add("tea")
        assert till.done == ["search"]
        assert house.callers.identify(acting.encode()).finishing
        assert not house.callers.identify(reading.encode()).finishing, "control answers for it"


async def test_a_live_run_executes_and_is_on_record():
    async with House().open() as house:
        till = Till(house.url)
        with run(house.token()):
            assert await till.add("tea", quantity=2) == {"item": "tea", "quantity": 2}
            assert await till.search("tea") == ["tea"]
            assert await asyncio.to_thread(till.note, "hot") is None
    assert till.done == ["add", "search", "note"]
    assert house.dispositions() == [
        ("cart_add", "executed"), ("menu_search", "read"), ("cart_note", "executed"),
    ]  # fmt: skip
    assert house.notes.calls[0].arguments == '{"item":"tea","quantity":2}'


async def test_in_shadow_writes_return_what_their_type_promises_and_do_nothing():
    async with House().open() as house:
        till = Till(house.url)
        with run(house.token("shadow")):
            assert await till.add("tea", 3) == {"item": "tea", "quantity": 3}
            assert await asyncio.to_thread(till.note, "hot") is None
            assert await till.search("tea") == ["tea"]
    assert till.done == ["search"]
    assert house.dispositions()[0] == ("cart_add", "would_execute")


async def test_forbidden_calls_and_arguments_are_violations():
    async with House().open() as house:
        till = Till(house.url)
        with run(house.token()), pytest.raises(Denied, match="policy forbids approve_all"):
            await till.approve()
        with run(house.token()), pytest.raises(Denied, match="quantity <= 20") as denied:
            await till.add("tea", 21)
    assert denied.value.why == "forbidden"
    assert till.done == []
    assert [report["tool"] for report in house.reports.made] == ["approve_all", "cart_add"]


async def test_the_budget_is_one_with_all_other_tools_of_the_run():
    async with House().open(ToolService("x", "http://127.0.0.1:9/mcp")) as house:
        till = Till(house.url)
        with run(house.token()):
            answers = await asyncio.gather(
                *(till.add("tea") for _ in range(30)), return_exceptions=True
            )
    assert till.done == ["add"] * 10
    assert [a.why for a in answers if isinstance(a, Denied)] == ["over_limit"] * 20


async def test_without_a_run_only_reads_pass():
    async with House().open() as house:
        till = Till(house.url)
        assert await till.search("tea") == ["tea"]
        with pytest.raises(Denied) as denied:
            await till.add("tea")
    assert denied.value.why == "no_run"


async def test_when_molt_cannot_be_asked_writes_fail_closed():
    till = Till("http://127.0.0.1:9")
    with run("whatever"):
        assert await till.search("tea") == ["tea"]
        with pytest.raises(Unreachable):
            await till.add("tea")
        with pytest.raises(Unreachable):
            await asyncio.to_thread(till.note, "hot")
    assert till.done == ["search"]


def test_a_return_type_that_no_dry_run_could_make_is_refused_at_once():
    with pytest.raises(TypeError, match="no dry run can return"):

        @guard()
        def odd() -> socket.socket: ...


def test_it_can_be_imported_without_the_rest():
    code = (
        "import sys, molt.guard; "
        "print([m for m in sys.modules if m.startswith('molt.') and m != 'molt.guard'])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

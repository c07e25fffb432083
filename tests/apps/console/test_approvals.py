"""An approval through the page's form: it says what is approved, and is refused when that is old."""

import html
import re

import pytest
from tests.apps.console.conftest import Browser, Browsers, Server

PAGE = "/console/rollouts/tiny"


@pytest.fixture
def asked(server: Server, begun: Browser) -> Browser:
    """The rollout `tiny`, which waits for its approval only; the administrator has asked for it."""
    server.later(seconds=2)
    assert begun.send(f"{PAGE}/ask", reason="the numbers are good").status_code == 303
    return begun


def hidden(page: str, name: str) -> str:
    """The value of the approval form's hidden field."""
    form = page[page.index(f'action="{PAGE}/approve"') :]
    found = re.search(f'name="{name}" value="([^"]*)"', form)
    assert found is not None
    return found[1]


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", page)).split())


def test_the_form_says_which_step_plan_and_evidence_are_approved(
    asked: Browser, browsers: Browsers
) -> None:
    page = browsers("approver").get(PAGE).text
    state = asked.get("/api/v1/rollouts/tiny").json()
    digest, plan = state["approval"]["digest"], state["playbook_hash"]
    form = text_of(page[page.index(f'action="{PAGE}/approve"') :])
    assert re.search(
        rf"Step canary 10% ?, plan tiny {plan[:10]} ?, evidence of .* {digest[:10]}", form
    )
    assert "gates passed" in form
    assert hidden(page, "digest") == digest


def test_a_form_with_another_digest_is_refused_with_what_to_do(
    asked: Browser, browsers: Browsers
) -> None:
    answer = browsers("approver").send(f"{PAGE}/approve", digest="0" * 64, reason="fine")
    assert answer.status_code == 409
    assert "What you saw is not what is asked now" in text_of(answer.text)
    assert "Look again, then approve" in text_of(answer.text)
    assert asked.get("/api/v1/rollouts/tiny").json()["approved_by"] is None


def test_a_form_that_was_drawn_before_it_was_asked_anew_is_refused(
    asked: Browser, browsers: Browsers
) -> None:
    approver = browsers("approver")
    old = hidden(approver.get(PAGE).text, "digest")
    browsers("operator").send(f"{PAGE}/ask", reason="with what came in since")
    new = hidden(approver.get(PAGE).text, "digest")
    assert old != new
    answer = approver.send(f"{PAGE}/approve", digest=old, reason="fine")
    assert answer.status_code == 409
    assert "there is newer evidence" in text_of(answer.text)
    assert approver.send(f"{PAGE}/approve", digest=new, reason="fine").status_code == 303


def test_a_form_that_was_drawn_before_anything_was_asked_is_bound_to_what_it_showed(
    server: Server, begun: Browser, browsers: Browsers
) -> None:
    approver = browsers("approver")
    page = approver.get(PAGE).text
    assert hidden(page, "digest") == ""
    assert "nothing is asked yet" in text_of(page)
    server.later(seconds=2)
    begun.send(f"{PAGE}/notes", text="something has changed")
    old = hidden(page, "version")
    answer = approver.send(f"{PAGE}/approve", digest="", version=old, reason="fine")
    assert answer.status_code == 409
    assert f"has changed since version {old}" in text_of(answer.text)

"""What `molt serve` says of a plan that `molt start` would refuse, hours before anybody starts it."""

import pytest

from molt.apps.serve.cli import warn_of_plan
from molt.apps.settings import load_settings

URLS = {
    "MOLT_UPSTREAMS__CONTROL__URL": "http://127.0.0.1:9001",
    "MOLT_UPSTREAMS__CANDIDATE__URL": "http://127.0.0.1:9002",
}


@pytest.mark.parametrize(
    ("plan", "text", "said"),
    [
        ("wf-11", None, ""),
        ("wf-12", None, "wf-12"),
        ("mine.yaml", None, "mine.yaml: cannot be read"),
        ("mine.yaml", "name: mine\nphasses: []\n", "mine.yaml:2:1: phasses: unknown key"),
    ],
)
def test_a_plan_that_cannot_be_started_is_named_at_once(tmp_path, capsys, plan, text, said):
    if text:
        (tmp_path / plan).write_text(text, encoding="utf-8")
    warn_of_plan(tmp_path / "molt.yaml", load_settings(None, {**URLS, "MOLT_PLAYBOOK": plan}))
    seen = capsys.readouterr().err
    assert said in seen
    assert bool(seen) == bool(said)

"""Whoever writes something wrong into molt.yaml or the environment is told where, and what was expected."""

from pathlib import Path

import pytest

from molt.adapters.problems import ConfigError
from molt.apps.settings import load_settings

UPSTREAMS = """\
upstreams:
  control: {url: "http://127.0.0.1:9001"}
  candidate: {url: "http://127.0.0.1:9002"}
"""


def complaint(folder: Path, text: str, **environ: str) -> str:
    path = folder / "molt.yaml"
    path.write_text(UPSTREAMS + text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_rule_that_cannot_be_understood_is_named_by_its_place(tmp_path):
    text = 'identity:\n  agent: ["header:x-agent", "heeader:x"]\n  subject: [session]\n'
    said = complaint(tmp_path, text)
    assert said.startswith(
        "molt.yaml:5:29: identity.agent.1: cannot understand the rule 'heeader:x'"
    )
    assert "header:NAME" in said


@pytest.mark.parametrize("rule", ["path:(a)(b)", "path:(", "session", "body:", "header:"])
def test_what_the_gateway_would_refuse_is_refused_before_it_starts(tmp_path, rule):
    said = complaint(tmp_path, f'identity:\n  session: ["{rule}"]\n')
    assert said.startswith("molt.yaml:5:13: identity.session.0: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("listen: nonsense", "expected HOST:PORT, such as 127.0.0.1:8080"),
        ("egress: {listen: '8082'}", "expected HOST:PORT, such as 127.0.0.1:8080"),
        ("egress: {models: {a: {url: api.example.com}}}", "http:// or https://"),
        ("egress: {tools: {'a b': {url: 'http://a'}}}", "a name of letters, digits, - and _"),
        ("notify: {quiet: {begin: 10pm, end: '07:00'}}", "a time of day such as 22:00"),
    ],
)
def test_people_hear_what_to_write_and_no_pattern(tmp_path, text, expected):
    said = complaint(tmp_path, text)
    assert expected in said
    assert "^" not in said


def test_a_service_is_named_without_a_path(tmp_path):
    said = complaint(tmp_path, "", MOLT_UPSTREAMS__CONTROL__URL="http://127.0.0.1:9001/api")
    assert said == (
        "environment MOLT_UPSTREAMS__CONTROL__URL: upstreams.control.url: 'http://127.0.0.1:9001/api' "
        "is wrong; expected http://HOST:PORT or https://HOST:PORT, without a path"
    )


def test_a_list_from_the_environment_is_not_blamed_on_the_file(tmp_path):
    said = complaint(tmp_path, "identity: {profiles: [openai]}", MOLT_IDENTITY__PROFILES="[nope]")
    assert said.startswith("environment MOLT_IDENTITY__PROFILES: identity.profiles.0: 'nope'")


def test_a_variable_that_is_nearly_a_setting_hears_which(tmp_path):
    said = complaint(tmp_path, "", MOLT_WORKRES="2")
    assert (
        said == "environment MOLT_WORKRES: is not a setting of Molt; did you mean 'MOLT_WORKERS'?"
    )


def test_without_a_file_people_hear_how_to_get_one():
    with pytest.raises(ConfigError, match="molt init"):
        load_settings(None, {"MOLT_WORKERS": "2"})


def test_the_environment_alone_is_enough():
    urls = {
        "MOLT_UPSTREAMS__CONTROL__URL": "http://127.0.0.1:9001",
        "MOLT_UPSTREAMS__CANDIDATE__URL": "https://agent.example.com/",
    }
    assert load_settings(None, urls).upstreams.candidate.url == "https://agent.example.com/"

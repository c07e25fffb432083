"""A person who made a mistake in a YAML file is told where, what and what was expected."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from molt.adapters.playbooks import as_yaml, load_playbook, parse_playbook, shipped
from molt.adapters.problems import ConfigError
from molt.adapters.yaml_source import load, loads, read
from molt.core.playbook import Playbook

WF11 = Path(__file__).parents[2] / "src/molt/playbooks/wf-11.yaml"


class Listen(BaseModel):
    model_config = ConfigDict(extra="forbid")
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")
    listen: Listen
    tls: bool = False
    agents: list[str] = []


def complaint(text: str, model: type[BaseModel] = Config) -> str:
    with pytest.raises(ConfigError) as caught:
        loads(text, model, "molt.yaml")
    return str(caught.value)


def test_a_correct_file_becomes_its_model(tmp_path: Path) -> None:
    path = tmp_path / "molt.yaml"
    path.write_bytes(b"\xef\xbb\xbflisten: {port: 8080}\r\ntls: yes\r\nagents:\r\n  - guest\r\n")
    config = load(path, Config)
    assert (config.listen.port, config.tls, config.agents) == (8080, True, ["guest"])


def test_the_shipped_playbook_loads() -> None:
    assert load(WF11, Playbook).name == "wf-11"


def test_a_wrong_value_is_named_with_line_and_column() -> None:
    text = "listen:\n  host: h\n  port: eighty\n"
    assert complaint(text) == (
        "molt.yaml:3:9: listen.port: 'eighty' is wrong; expected a whole number"
    )


def test_a_value_out_of_range_says_the_range() -> None:
    assert complaint("listen: {port: 70000}") == (
        "molt.yaml:1:16: listen.port: 70000 is wrong; expected a value less than or equal to 65535"
    )


def test_an_unknown_key_is_told_which_one_was_meant() -> None:
    text = "listen:\n  prot: 1\n  port: 8080\n"
    assert complaint(text) == "molt.yaml:2:3: listen.prot: unknown key; did you mean 'port'?"


def test_an_unknown_key_with_no_likeness_lists_what_is_known() -> None:
    text = "listen: {port: 1, qqqq: 2}"
    assert complaint(text) == (
        "molt.yaml:1:19: listen.qqqq: unknown key; expected one of host, port"
    )


def test_a_missing_key_is_reported_where_it_should_stand() -> None:
    assert complaint("tls: true\nlisten:\n  host: h\n") == (
        "molt.yaml:2:1: listen.port: is missing; expected a whole number"
    )


def test_a_list_with_a_wrong_item_is_not_also_called_too_short() -> None:
    class Plan(BaseModel):
        shares: tuple[int, ...] = Field(min_length=1)

    assert complaint("shares: [x]", Plan).count("\n") == 0
    assert complaint("shares: []", Plan).endswith("shares: a list is wrong; expected at least 1")


def test_every_problem_is_reported_at_once() -> None:
    text = "listen: {port: 0}\ntls: perhaps\nagents: guest\nnope: 1\n"
    lines = complaint(text).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "molt.yaml:1:16",
        "molt.yaml:2:6",
        "molt.yaml:3:9",
        "molt.yaml:4:1",
    ]


def test_a_duplicate_key_names_both_places() -> None:
    assert complaint("tls: true\nlisten: {port: 1}\ntls: false\n") == (
        "molt.yaml:3:1: tls: stands twice; the first is at molt.yaml:1:1; keep one"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen:\n\tport: 1\n", "molt.yaml:2:1: not YAML: found character"),
        ("listen: [1,\n", "molt.yaml:2:1: not YAML: "),
        ("a: b: c\n", "molt.yaml:1:5: not YAML: mapping values are not allowed here; expected"),
        ("tls: \x01\n", "molt.yaml:1:6: not YAML: a control character"),
        ("a: 1\n---\nb: 2\n", "molt.yaml:2:1: not YAML: but found another document; expected one"),
        ("a: *b\n", "molt.yaml:1:4: not YAML: found undefined alias"),
        ("", "molt.yaml:1:1: is empty"),
        ("- a\n", "molt.yaml:1:1: expected `key: value` lines"),
        ("a: !!int x\n", "molt.yaml:1:4: a: 'x' does not fit the tag tag:yaml.org,2002:int"),
        ("a: !!python/object:x 1\n", "molt.yaml:1:4: a: '1' does not fit the tag"),
        ("? [a]\n: 1\n", "molt.yaml:1:3: a key that is not plain text"),
        ("a: &x [*x]\n", "molt.yaml:1:4: a.0: aliases repeat themselves"),
        ("<<: {a: 1}\n", "molt.yaml:1:1: merge key"),
        ("[" * 500, "molt.yaml:1:1: nested too deeply"),
    ],
)
def test_bad_syntax_is_reported_the_same_way(text: str, said: str) -> None:
    assert complaint(text).startswith(said)


def test_an_alias_bomb_is_refused() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 7)]
    assert "aliases repeat themselves" in complaint("\n".join(rows))


def test_a_file_that_is_missing_or_not_text_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(no such file"):
        load(tmp_path / "none.yaml", Config)
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"tls: true\nx: \xff\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml:2:4: not UTF-8"):
        load(bad, Config)


def test_a_value_from_elsewhere_is_validated_and_named_by_its_origin() -> None:
    document = read("tls: true\n", "molt.yaml")
    document.override(("listen", "port"), "x", "environment MOLT_LISTEN__PORT")
    with pytest.raises(ConfigError) as caught:
        document.validate(Config)
    assert str(caught.value) == (
        "environment MOLT_LISTEN__PORT: listen.port: 'x' is wrong; expected a whole number"
    )
    document.override(("listen", "port"), "81", "environment MOLT_LISTEN__PORT")
    assert document.validate(Config).listen.port == 81


def playbook_complaint(old: str, new: str) -> str:
    text = WF11.read_text("utf-8")
    assert old in text
    return complaint(text.replace(old, new, 1), Playbook)


def test_a_gate_of_unknown_kind_is_told_which_one_was_meant() -> None:
    said = playbook_complaint("{kind: latency, quantile: 95%", "{kind: latncy, quantile: 95%")
    assert "phases.0.steps.0.gates.1.kind: 'latncy' is not known; did you mean 'latency'?" in said


def test_an_unknown_key_of_a_gate_is_compared_with_that_gates_keys() -> None:
    said = playbook_complaint("quantile: 95%, below: 2s", "quantile: 95%, belowe: 2s, below: 2s")
    assert "gates.1.belowe: unknown key; did you mean 'below'?" in said


def test_a_key_of_another_gate_is_told_which_keys_this_gate_has() -> None:
    said = playbook_complaint("quantile: 95%, below: 2s", "quantile: 95%, below: 2s, metric: x")
    assert said.endswith(
        "gates.1.metric: unknown key; "
        "expected one of alpha_fail, alpha_pass, below, kind, on_fail, quantile"
    )


def test_an_unknown_key_under_an_alias_is_compared_with_the_keys_there() -> None:
    class Inner(BaseModel):
        model_config = ConfigDict(extra="forbid")
        hours: int = 1

    class Outer(BaseModel):
        for_: Inner = Field(alias="for")

    assert complaint("for: {hour: 2}", Outer) == (
        "molt.yaml:1:7: for.hour: unknown key; did you mean 'hours'?"
    )


@pytest.mark.parametrize(
    ("playbook", "expected"),
    [
        ("name: mini", "molt: is missing; expected 1"),
        (
            "molt: 1\nphases: [{}]",
            "phases.0.name: is missing; expected 'shadow' or 'canary' or 'progr",
        ),
        ("molt: 1\nname: mini", "phases: is missing; expected a list"),
        ("molt: 1", "name: is missing; expected text"),
    ],
)
def test_what_is_missing_comes_with_what_to_write(playbook: str, expected: str) -> None:
    assert expected in complaint(playbook, Playbook)


def test_a_missing_key_of_a_gate_does_not_show_pydantics_inner_names() -> None:
    said = playbook_complaint("quantile: 95%, below: 2s", "quantile: 95%")
    line = (
        WF11.read_text("utf-8")
        .splitlines()
        .index("          - {kind: latency, quantile: 95%, below: 2s}")
    )
    assert said == (
        f"molt.yaml:{line + 1}:13: phases.0.steps.0.gates.1.below: is missing; "
        "expected a duration such as 30s, 5m, 48h or 7d"
    )


def test_a_number_without_its_unit_says_which_units_there_are() -> None:
    said = playbook_complaint("hold: 48h", "hold: 48")
    assert "phases.0.steps.0.hold: 48 is wrong; expected a duration with a unit" in said


def test_a_rule_about_the_whole_plan_points_at_the_key_it_is_about() -> None:
    text = WF11.read_text("utf-8")
    line = text.splitlines().index("phases:") + 3  # a comment stands between
    said = playbook_complaint("- share: 0", "- share: 0.5")
    assert said == f"molt.yaml:{line}:3: phases: shadow: shadow has share 0, and no other phase"


def test_a_misspelt_choice_is_told_which_one_was_meant() -> None:
    said = playbook_complaint("action: roll_back", "action: rollback")
    assert "'rollback' is wrong; expected 'roll_back', 'halve', 'pause' or 'review'" in said
    assert "did you mean 'roll_back'?" in said


@given(st.text(max_size=60))
def test_any_text_is_either_a_model_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        assert isinstance(loads(text, Config), Config)


@pytest.mark.parametrize("name", shipped())
def test_a_plan_written_out_reads_back_as_the_same_plan(name: str):
    """In the same order, too: agents and metrics by name would be another plan, by its hash."""
    plan = load_playbook(name)
    assert parse_playbook(as_yaml(plan), "again").hash() == plan.hash()

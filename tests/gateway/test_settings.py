"""A worker's settings: one file, for its owner only."""

import stat
from pathlib import Path

import msgspec
import pytest

from molt.core.errors import OperatorError
from molt.gateway.identity import profiles
from molt.gateway.settings import (
    GatewaySettings,
    Identification,
    Service,
)
from molt.link.settings_file import read_settings, write_settings

SERVICE = Service("http://127.0.0.1:1")
SETTINGS = GatewaySettings("g", "http://m", "k", "aa", "bb", "s", "a", SERVICE, SERVICE)


def test_settings_come_back_as_they_were_written(tmp_path: Path):
    path = tmp_path / "deep" / "g.json"
    write_settings(path, SETTINGS)
    assert read_settings(path, GatewaySettings) == SETTINGS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("change", [{"prot": 1}, {"port": "x"}, {"control": {"url": None}}])
def test_a_mistake_names_the_file_and_the_field(tmp_path: Path, change: dict[str, object]):
    path = tmp_path / "g.json"
    path.write_bytes(msgspec.json.encode(msgspec.to_builtins(SETTINGS) | change))
    with pytest.raises(OperatorError, match=rf"g\.json: .*{next(iter(change))}"):
        read_settings(path, GatewaySettings)


def test_a_missing_file_says_so(tmp_path: Path):
    with pytest.raises(OperatorError, match="No such file"):
        read_settings(tmp_path / "none.json", GatewaySettings)


def test_own_rules_come_before_those_of_the_profiles():
    own = Identification(profiles=("openai",), subject=("cookie:uid",))
    assert own.rules().subject == ("cookie:uid", *profiles(["openai"]).subject)


@pytest.mark.parametrize(
    ("identification", "field"),
    [
        (Identification(), "session_id"),
        (Identification(profiles=("openai",)), None),
        (Identification(session_field="thread.id"), "thread.id"),
        (Identification(session_field=""), None),
    ],
)
def test_answers_name_sessions_in_agent_chat_or_where_it_is_said(identification, field):
    assert identification.answer_field() == field

"""The operator's flags: strict values, precise complaints, safe rewriting, prompt watching."""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.adapters.env_file import EnvFile, parse_env, read_env
from molt.adapters.flag_values import agent_key
from molt.adapters.problems import ConfigError
from molt.core.flags import Bounds


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_env(text, "flags.env")
    return str(caught.value)


def test_every_flag_of_the_plan_is_understood() -> None:
    text = """
# operator's flags
MOLTBOT_ENABLED=true
export MOLTBOT_SHADOW_MODE=off
MOLTBOT_TRAFFIC_PERCENT="12.5"   # quoted, with a comment
MOLTBOT_GUEST_ENABLED='yes'
MOLTBOT_BAR_MANAGER_ENABLED=1
MOLTBOT_ADMIN_ENABLED = no
MOLTBOT_UI_ORCHESTRATOR_ENABLED=TRUE
MOLTBOT_RESEARCH_ENABLED=0
MOLTBOT_MAX_TOKENS_PER_REQUEST=4000
MOLTBOT_MAX_TOOL_CALLS_PER_REQUEST=10 # ten
MOLTBOT_RATE_LIMIT_PER_MINUTE=30
DATABASE_URL=postgres://u:p@h/db#x
"""
    assert parse_env(text, "flags.env") == Bounds(
        enabled=True,
        shadow_mode=False,
        traffic_percent=12.5,
        agents={
            "guest": True,
            "bar_manager": True,
            "admin": False,
            "ui_orchestrator": True,
            "research": False,
        },
        max_tokens_per_request=4000,
        max_tool_calls_per_request=10,
        rate_limit_per_minute=30,
    )


def test_an_empty_file_says_nothing() -> None:
    assert parse_env("", "flags.env") == Bounds()


def test_the_short_alias_of_shadow_mode_is_understood() -> None:
    assert parse_env("SHADOW_MODE=true", "f").shadow_mode is True
    assert read_env({"SHADOW_MODE": "on"}).shadow_mode is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "MOLTBOT_ENABLED=maybe",
            "flags.env:1:17: MOLTBOT_ENABLED: 'maybe' is wrong; "
            "expected true or false (or 1/0, yes/no, on/off)",
        ),
        ("MOLTBOT_ENABLED=", "flags.env:1:17: MOLTBOT_ENABLED: '' is wrong; expected true"),
        ("\n  MOLTBOT_ENABLD=true", "flags.env:2:3: MOLTBOT_ENABLD: unknown flag; did you mean "),
        (
            "MOLTBOT_GEST_ENABLED=false",
            "flags.env:1:1: MOLTBOT_GEST_ENABLED: unknown agent 'gest'; did you mean "
            "'MOLTBOT_GUEST_ENABLED'?",
        ),
        (
            "MOLTBOT_FOO=1",
            "flags.env:1:1: MOLTBOT_FOO: unknown flag; expected one of MOLTBOT_ENABLED, ",
        ),
        ("moltbot_enabled=true", "flags.env:1:1: moltbot_enabled: unknown flag; did you mean"),
        ("MOLTBOT_TRAFFIC_PERCENT=101", "flags.env:1:25: MOLTBOT_TRAFFIC_PERCENT: '101' is wrong"),
        ("MOLTBOT_TRAFFIC_PERCENT=5%", "expected a number from 0 to 100 with at most 2 decimals"),
        ("MOLTBOT_TRAFFIC_PERCENT=1.005", "'1.005' is wrong"),
        ("MOLTBOT_TRAFFIC_PERCENT=-1", "'-1' is wrong"),
        ("MOLTBOT_TRAFFIC_PERCENT=nan", "'nan' is wrong"),
        ("MOLTBOT_TRAFFIC_PERCENT=٥", "is wrong"),
        ("MOLTBOT_RATE_LIMIT_PER_MINUTE=0", "'0' is wrong; expected a whole number, at least 1"),
        ("MOLTBOT_MAX_TOOL_CALLS_PER_REQUEST=1.5", "expected a whole number, at least 0"),
        ("MOLTBOT_ENABLED='true", "flags.env:1:17: MOLTBOT_ENABLED: expected a closing quote"),
        ("MOLTBOT_ENABLED", "flags.env:1:1: 'MOLTBOT_ENABLED' is not a setting; expected KEY="),
        (
            "MOLTBOT_ENABLED=true\nMOLTBOT_ENABLED=false",
            "flags.env:2:17: MOLTBOT_ENABLED: says 'false', but MOLTBOT_ENABLED says 'true' at "
            "flags.env:1:17",
        ),
        ("SHADOW_MODE=1\nMOLTBOT_SHADOW_MODE=0", "flags.env:2:21: MOLTBOT_SHADOW_MODE: says '0'"),
    ],
)
def test_a_malformed_file_says_where_and_what_was_expected(text: str, said: str) -> None:
    assert said in complaint(text)


def test_all_problems_are_reported_in_the_order_of_the_file() -> None:
    text = "MOLTBOT_X=1\nnonsense\nMOLTBOT_ENABLED=maybe\n"
    places = [line.split(": ")[0] for line in complaint(text).splitlines()]
    assert places == ["flags.env:1:1", "flags.env:2:1", "flags.env:3:17"]


def test_the_process_environment_is_held_to_the_same_rules() -> None:
    assert read_env({"MOLTBOT_TRAFFIC_PERCENT": "5", "PATH": "/bin"}) == Bounds(traffic_percent=5)
    with pytest.raises(ConfigError, match=r"^environment MOLTBOT_ENABLED: 'x' is wrong; expected"):
        read_env({"MOLTBOT_ENABLED": "x"})


def test_agents_of_other_playbooks_have_flags_too() -> None:
    assert agent_key("wine-guide") == "MOLTBOT_WINE_GUIDE_ENABLED"
    assert parse_env("MOLTBOT_SOMMELIER_ENABLED=0", "f").agents == {"sommelier": False}
    bounds = parse_env("MOLTBOT_WINE_GUIDE_ENABLED=0", "f", ["wine-guide"])
    assert bounds.agents == {"wine-guide": False}
    with pytest.raises(ConfigError, match="unknown agent 'guest'; did you mean"):
        parse_env("MOLTBOT_GUEST_ENABLED=0", "f", ["guests"])


@given(st.text(max_size=80))
def test_any_text_is_either_bounds_or_a_config_error(text: str) -> None:
    try:
        assert isinstance(parse_env("MOLTBOT_" + text, "f"), Bounds)
    except ConfigError as error:
        said = str(error)
    else:
        said = "f:1:1"
    assert said.startswith("f:")


@given(percent=st.integers(0, 10_000))
def test_a_percentage_with_two_decimals_is_read_exactly(percent: int) -> None:
    text = f"MOLTBOT_TRAFFIC_PERCENT={percent // 100}.{percent % 100:02}"
    read = parse_env(text, "f").traffic_percent
    assert read is not None
    assert round(read * 100) == percent


def test_setting_a_flag_keeps_comments_order_and_other_lines(tmp_path: Path) -> None:
    path = tmp_path / "flags.env"
    path.write_bytes(
        b"# head\r\nOTHER='x # y'\r\nexport MOLTBOT_ENABLED = \"true\"  # switch\r\nTAIL=1"
    )
    path.chmod(0o640)
    file = EnvFile(path)
    file.set("MOLTBOT_ENABLED", "false")
    file.set("MOLTBOT_TRAFFIC_PERCENT", "5")
    assert path.read_bytes() == (
        b"# head\r\nOTHER='x # y'\r\nexport MOLTBOT_ENABLED = false  # switch\r\nTAIL=1\r\n"
        b"MOLTBOT_TRAFFIC_PERCENT=5\r\n"
    )
    assert file.read() == Bounds(enabled=False, traffic_percent=5)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["flags.env"]


def test_setting_a_flag_creates_a_private_file(tmp_path: Path) -> None:
    file = EnvFile(tmp_path / "new" / "flags.env")
    assert file.read() == Bounds()
    file.set("MOLTBOT_ENABLED", "false")
    assert file.read() == Bounds(enabled=False)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_setting_a_flag_mends_its_own_broken_line_and_its_alias(tmp_path: Path) -> None:
    file = EnvFile(tmp_path / "flags.env")
    file.path.write_text("SHADOW_MODE='broken\nMOLTBOT_SHADOW_MODE=maybe\n")
    file.set("MOLTBOT_SHADOW_MODE", "true")
    assert file.path.read_text() == "SHADOW_MODE=true\nMOLTBOT_SHADOW_MODE=true\n"


def test_setting_a_flag_follows_a_link_instead_of_replacing_it(tmp_path: Path) -> None:
    real = tmp_path / "real.env"
    real.write_text("MOLTBOT_ENABLED=true\n")
    link = tmp_path / "link.env"
    link.symlink_to(real)
    EnvFile(link).set("MOLTBOT_ENABLED", "false")
    assert link.is_symlink()
    assert real.read_text() == "MOLTBOT_ENABLED=false\n"


@pytest.mark.parametrize(
    ("key", "value"), [("MOLTBOT_ENABLED", "x"), ("PATH", "1"), ("MOLTBOT_Q", "1")]
)
def test_a_wrong_flag_is_refused_and_the_file_untouched(
    tmp_path: Path, key: str, value: str
) -> None:
    file = EnvFile(tmp_path / "flags.env")
    with pytest.raises(ConfigError):
        file.set(key, value)
    assert not file.path.exists()


def test_a_deleted_file_does_not_lift_its_bounds(tmp_path: Path) -> None:
    file = EnvFile(tmp_path / "flags.env")
    file.set("MOLTBOT_ENABLED", "false")
    file.read()
    file.path.unlink()
    with pytest.raises(ConfigError, match="is gone"):
        file.read()
    file.path.touch()
    assert file.read() == Bounds()


def test_a_file_that_is_not_text_is_reported_with_its_place(tmp_path: Path) -> None:
    file = EnvFile(tmp_path / "flags.env")
    file.path.write_bytes(b"A=1\nB=\xff\n")
    with pytest.raises(ConfigError, match=r"flags\.env:2:3: not text"):
        file.read()


async def seen(watching: AsyncGenerator[Bounds | ConfigError, None]) -> Bounds | ConfigError:
    return await asyncio.wait_for(anext(watching), 10)


async def test_the_watch_reports_edits_renames_mistakes_deletion_and_return(tmp_path: Path) -> None:
    file = EnvFile(tmp_path / "flags.env")
    async with aclosing(file.watch()) as watching:
        assert await seen(watching) == Bounds()
        file.path.write_text("MOLTBOT_ENABLED=true\n")
        state = await seen(watching)
        if state == Bounds():  # the file was seen between its creation and its content
            state = await seen(watching)
        assert state == Bounds(enabled=True)
        other = tmp_path / "other"
        other.write_text("MOLTBOT_ENABLED=false\n")
        other.replace(file.path)
        assert await seen(watching) == Bounds(enabled=False)
        other.write_text("MOLTBOT_ENABLED=maybe\n")
        other.replace(file.path)
        assert "'maybe' is wrong" in str(await seen(watching))
        file.path.unlink()
        assert "is gone" in str(await seen(watching))
        file.set("MOLTBOT_TRAFFIC_PERCENT", "5")
        assert await seen(watching) == Bounds(traffic_percent=5)


async def test_the_watch_polls_where_there_is_no_directory_yet(tmp_path: Path) -> None:
    file = EnvFile(tmp_path / "later" / "flags.env")
    async with aclosing(file.watch()) as watching:
        assert await seen(watching) == Bounds()
        file.set("MOLTBOT_ENABLED", "false")
        assert await seen(watching) == Bounds(enabled=False)

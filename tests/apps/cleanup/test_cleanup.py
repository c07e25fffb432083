"""What is left of flags and shadow mode is found, in Python by what branches hang on."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.apps.cleanup.files import sweep
from molt.apps.cleanup.findings import Finding, in_text, names_in
from molt.apps.cleanup.python_source import in_python

SERVICE = '''\
"""Orders. MOLTBOT_ENABLED switches the agent."""
import os

ENABLED = os.environ.get("MOLTBOT_ENABLED") == "true"  # the switch
shadow = os.environ["SHADOW_MODE"]


def is_on() -> bool:
    return ENABLED


def order(request):
    if is_on():
        return agent(request)
    if request.headers.get("x-molt-mode") == "shadow":
        log(request)
        return None
    price = 0 if shadow else 3
    if request.table:  # nothing to do with it
        return price
    return existing(request)
'''


def kinds(found: list[Finding]) -> dict[int, str]:
    return {f.line: f.kind for f in found}


def test_python_is_read_by_what_its_branches_hang_on():
    found = in_python(SERVICE, "orders.py")
    assert kinds(found) == {
        1: "mention",
        4: "flag",
        5: "flag",
        13: "flag_path",
        15: "shadow_path",
        18: "shadow_path",
    }
    (header,) = [f for f in found if f.line == 15]
    assert (header.last_line, header.names) == (17, ("x-molt-mode",))


def test_a_local_variable_carries_a_flag_within_its_function_only():
    source = """
def ours():
    live = settings["MOLTBOT_ENABLED"]
    return [1 for _ in x] if live else []

def theirs(live):
    if live:
        return 1
"""
    assert kinds(in_python(source, "x.py")) == {3: "flag", 4: "flag_path"}


FLAGS = 'import os\nSHADOW = os.environ.get("MOLTBOT_SHADOW_MODE") == "true"\nOTHER = 1\n'


@pytest.mark.parametrize(
    ("at", "importing", "test"),
    [
        ("shop/order.py", "from shop.flags import SHADOW", "SHADOW"),
        ("shop/order.py", "from shop.flags import SHADOW as quiet", "quiet"),
        ("shop/order.py", "from .flags import SHADOW", "SHADOW"),
        ("shop/deep/order.py", "from ..flags import SHADOW", "SHADOW"),
        ("shop/order.py", "from shop import flags", "flags.SHADOW"),
        ("shop/order.py", "from . import flags as f", "f.SHADOW"),
        ("shop/order.py", "import shop.flags", "shop.flags.SHADOW"),
        ("shop/order.py", "from shop.flags import *", "SHADOW"),
        ("shop/order.py", "from shop.mode import is_quiet", "is_quiet()"),
        ("shop/order.py", "from shop import is_quiet", "is_quiet()"),
    ],
)
def test_a_flag_is_followed_into_the_files_that_import_it(
    tmp_path: Path, at: str, importing: str, test: str
):
    source = {
        "shop/flags.py": FLAGS,
        "shop/mode.py": "from shop.flags import SHADOW\n\ndef is_quiet():\n    return SHADOW\n",
        "shop/__init__.py": "from shop.mode import is_quiet\n",
        "shop/deep/__init__.py": "",
        at: f"{importing}\n\nif {test}:\n    log()\n",
    }
    for name, text in source.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = [f for f in sweep([tmp_path]).findings if f.file.endswith("order.py")]
    assert [(f.line, f.names) for f in found if f.kind == "shadow_path"] == [
        (3, ("MOLTBOT_SHADOW_MODE",))
    ]


@pytest.mark.parametrize(
    "importing",
    ["from shop.flags import OTHER as SHADOW", "from other import SHADOW", "from . import SHADOW"],
)
def test_a_name_from_elsewhere_is_no_flag(tmp_path: Path, importing: str):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/flags.py").write_text(FLAGS)
    (tmp_path / "shop/order.py").write_text(f"{importing}\n\nif SHADOW:\n    log()\n")
    assert [f.file for f in sweep([tmp_path]).findings if f.file.endswith("order.py")] == []


def test_other_files_are_read_line_by_line():
    text = "ENV A=1\nENV MOLTBOT_TRAFFIC_PERCENT=10\n# the x-molt-mode header\n"
    assert kinds(in_text(text, "Dockerfile")) == {2: "flag", 3: "mention"}


@pytest.mark.parametrize("text", ["MY_MOLTBOT_ENABLED", "MOLTBOT_", "shadows", "MOLTBOT"])
def test_what_only_looks_alike_is_left_alone(text: str):
    assert names_in(text) == ()


def test_a_name_is_given_once_and_whole():
    assert names_in("MOLTBOT_SHADOW_MODE or MOLTBOT_SHADOW_MODE") == ("MOLTBOT_SHADOW_MODE",)


@given(st.text())
def test_no_text_is_too_odd(text: str):
    for found in in_text(text + "\nMOLTBOT_ENABLED", "x"):
        assert found.names


def test_a_checkout_is_searched_as_git_sees_it(tmp_path: Path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    for name in ("kept.py", "ignored.py", ".env.example"):
        (tmp_path / name).write_text("MOLTBOT_ENABLED = 1\n")
    found = sweep([tmp_path]).findings
    assert [Path(f.file).name for f in found] == [".env.example", "kept.py"]


def test_what_cannot_be_read_is_said_and_not_passed_over(tmp_path: Path):
    (tmp_path / "old.py").write_text("print 'MOLTBOT_ENABLED'\n")
    (tmp_path / "latin.txt").write_bytes("MOLTBOT_ENABLED für alle".encode("latin-1"))
    (tmp_path / "picture.png").write_bytes(b"\0MOLTBOT_ENABLED")
    swept = sweep([tmp_path])
    assert [Path(f).name for f in swept.by_text] == ["old.py"]
    assert [Path(f).name for f in swept.unread] == ["latin.txt"]
    assert [f.kind for f in swept.findings] == ["flag"]
    assert swept.files == 1

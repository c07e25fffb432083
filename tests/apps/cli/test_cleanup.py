"""`molt cleanup` for people and for CI."""

import json
from pathlib import Path

from .conftest import Molt

CODE = """\
def order(request):
    if request.headers.get("x-molt-mode") == "shadow":
        log(request)
        return None
    return agent(request)
"""


def test_the_command_fails_until_nothing_is_left(offline: Molt, tmp_path: Path):
    code = tmp_path / "orders.py"
    code.write_text(CODE)
    ran = offline("cleanup", str(tmp_path))
    assert ran.code == 1
    assert "Code paths for shadow mode" in ran.out
    assert f"{code}:2-4" in ran.out
    assert {f["line"] for f in json.loads(offline("cleanup", str(code), "--json").out)["findings"]}
    code.write_text("def order(request):\n    return agent(request)\n")
    ran = offline("cleanup", str(tmp_path))
    assert (ran.code, ran.out) == (
        0,
        "Nothing left of the flags or shadow mode; 1 file looked at.\n",
    )


def test_a_path_that_is_not_there_is_named(offline: Molt):
    ran = offline("cleanup", "nowhere/at/all")
    assert ran.code == 2
    assert "nowhere/at/all: there is no such file or folder" in ran.err

"""`molt token`, on a real database."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from tests.apps.cli.conftest import Molt

from molt.adapters.sql.store import SqlStore
from molt.apps.api.auth import token_hash


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    folder = tmp_path / "molt-data"
    folder.mkdir()
    async with await SqlStore.open(folder / "molt.db"):
        return folder


def role_of(data: Path, token: str) -> str | None:
    """The role that the token gives; None when it lets nobody in."""

    async def find() -> str | None:
        async with await SqlStore.open(data / "molt.db") as store:
            found = await store.tokens.find_by_hash(token_hash(token))
            return found and found.role

    return asyncio.run(find())


def test_a_new_token_is_all_of_standard_output_and_lets_in(offline: Molt, data: Path):
    ran = offline("token", "add", "ci", "--role", "operator", "--dir", data)
    assert ran.code == 0
    token = ran.out.removesuffix("\n")
    assert token.startswith("molt_")
    assert "not shown again" in ran.err
    assert role_of(data, token) == "operator"


def test_a_token_is_a_viewers_unless_more_is_said(offline: Molt, data: Path):
    made = offline.json("token", "add", "eve", "--dir", data)
    assert (made["role"], made["expires_at"]) == ("viewer", None)
    assert role_of(data, made["token"]) == "viewer"


def test_the_list_names_tokens_and_never_shows_them(offline: Molt, data: Path):
    token = offline("token", "add", "ci", "--expires", "90d", "--dir", data).out.strip()
    ran = offline("token", "list", "--dir", data)
    assert "ci" in ran.out
    assert token not in ran.out
    [row] = offline.json("token", "list", "--dir", data)
    assert (row["name"], row["state"]) == ("ci", "live")
    assert "sha256" not in row
    assert row["expires_at"] is not None


def test_a_revoked_token_lets_nobody_in(offline: Molt, data: Path):
    made = offline.json("token", "add", "ci", "--dir", data)
    assert offline("token", "revoke", "ci", "--yes", "--dir", data).code == 0
    assert role_of(data, made["token"]) is None
    assert offline.json("token", "list", "--dir", data)[0]["state"] == "revoked"
    again = offline("token", "revoke", "ci", "--yes", "--dir", data)
    assert (again.code, "No live token 'ci'" in again.err) == (2, True)


def test_revoking_asks_first(offline: Molt, data: Path):
    offline("token", "add", "ci", "--dir", data)
    ran = offline("token", "revoke", "ci", "--dir", data)
    assert (ran.code, "--yes" in ran.err) == (2, True)
    assert offline.json("token", "list", "--dir", data)[0]["state"] == "live"


def test_a_name_belongs_to_one_live_token(offline: Molt, data: Path):
    offline("token", "add", "ci", "--dir", data)
    assert offline("token", "add", "ci", "--dir", data).code == 1


def test_the_data_directory_is_that_of_molt_yaml_or_the_usual_one(offline: Molt, data: Path):
    assert offline("token", "list").code == 0
    data.rename(data.with_name("elsewhere"))
    assert offline("token", "list").code == 2
    Path("molt.yaml").write_text(
        "upstreams: {control: {url: 'http://a:1'}, candidate: {url: 'http://b:1'}}\n"
        "data: elsewhere\n"
    )
    assert offline("token", "list").code == 0


def test_no_database_is_made_where_there_is_none(offline: Molt, tmp_path: Path):
    ran = offline("token", "add", "ci", "--dir", tmp_path)
    assert ran.code == 2
    assert "molt serve" in ran.err
    assert not (tmp_path / "molt.db").exists()


@pytest.mark.parametrize("wrong", [("--role", "king"), ("--expires", "soon")], ids=" ".join)
def test_a_token_that_cannot_be_meant_is_a_usage_error(
    offline: Molt, data: Path, wrong: tuple[str, ...]
):
    assert offline("token", "add", "ci", "--dir", data, *wrong).code == 2


def test_what_is_done_to_tokens_on_the_machine_itself_is_in_the_audit_log(
    offline: Molt, data: Path
):
    offline("token", "add", "ci", "--role", "operator", "-m", "nightly builds", "--dir", data)
    offline("token", "revoke", "ci", "--yes", "-m", "leaked", "--dir", data)

    exported = offline("audit", "export", "--dir", data)
    records = [json.loads(line) for line in exported.out.splitlines()]
    people = [r for r in records if r["kind"] == "access"]
    assert [(r["act"], r["reason"], r["via"]) for r in people] == [
        ("add_token", "nightly builds", "data directory"),
        ("revoke_token", "leaked", "data directory"),
    ]
    assert people[0]["given"] == {"name": "ci", "role": "operator"}
    assert "@" in people[0]["by"]
    assert offline.json("token", "list", "--dir", data)[0]["created_by"] == people[0]["by"]
    verified = offline.json("audit", "verify", "--dir", data)
    assert (verified["ok"], verified["unanchored"]) == (True, [])


def test_a_token_is_revoked_even_when_the_audit_log_cannot_be_written(offline: Molt, data: Path):
    made = offline.json("token", "add", "ci", "--dir", data)
    shutil.rmtree(data / "audit")
    (data / "audit").write_text("no folder")
    ran = offline("token", "revoke", "ci", "--yes", "--dir", data)
    assert (ran.code, "not in the audit log" in ran.err) == (0, True)
    assert role_of(data, made["token"]) is None

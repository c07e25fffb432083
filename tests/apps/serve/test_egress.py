"""`molt serve` runs the egress where it is configured, and only there."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from molt.apps.serve.egress_settings import egress_settings
from molt.apps.serve.keys import load_keys
from molt.apps.settings import load_settings
from molt.core.errors import OperatorError

UPSTREAMS = {"control": {"url": "http://127.0.0.1:1"}, "candidate": {"url": "http://127.0.0.1:2"}}


def written(folder: Path, **extra: object) -> Path:
    config = {
        "listen": "127.0.0.1:0",
        "api": "127.0.0.1:0",
        "data": "data",
        "upstreams": UPSTREAMS,
        **extra,
    }
    path = folder / "molt.yaml"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.e2e
def test_the_egress_runs_beside_control_and_follows_its_flags(tmp_path: Path):
    path = written(tmp_path, egress={"listen": "127.0.0.1:0"})
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MOLT")}
    command = [sys.executable, "-m", "molt.apps.cli", "serve", "--config", str(path), "--json"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
    ) as serve:
        try:
            assert serve.stdout is not None
            ready = json.loads(serve.stdout.readline())
            state = httpx.get(f"{ready['egress']}/health", trust_env=False).json()
            unknown = httpx.get(f"{ready['egress']}/nothing/here", trust_env=False)
        finally:
            serve.send_signal(signal.SIGTERM)
            assert serve.wait(20) == 0
    assert state["status"] == "ok"
    assert state["flags"] >= 1
    assert unknown.status_code == 404
    assert "/health" in unknown.json()["error"]["message"]


def settings_of(path: Path, environ: dict[str, str]):
    settings = load_settings(path, {})
    assert settings.egress is not None
    return egress_settings(settings, settings.egress, load_keys(settings.data), environ)


def test_keys_of_providers_come_from_a_variable_or_a_file_beside_the_config(tmp_path: Path):
    (tmp_path / "secret").write_text("from-file\n")
    models = {
        "one": {"url": "https://one.example/v1", "key_env": "ONE_KEY"},
        "two": {"url": "https://two.example/", "key_file": "secret"},
    }
    path = written(tmp_path, egress={"models": models})
    one, two = settings_of(path, {"ONE_KEY": "from-variable"}).models
    assert (one.key, two.key, two.url) == ("from-variable", "from-file", "https://two.example")


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"key_env": "NOT_THERE"}, "NOT_THERE is not set"),
        ({"key_file": "none"}, "No such file"),
        ({"key": "a", "key_env": "B"}, "one of key, key_env"),
    ],
)
def test_a_key_that_cannot_be_had_names_the_setting(tmp_path: Path, how, problem):
    path = written(tmp_path, egress={"models": {"one": {"url": "https://one.example", **how}}})
    with pytest.raises(OperatorError, match=rf"egress\.models\.one.*{problem}"):
        settings_of(path, {})

"""A service of the bar that cannot start says why, in one line."""

import pytest

from molt.apps.demo.bar.__main__ import main


def test_an_agent_without_a_model_hears_which_to_start(tmp_path, monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit, match=r"^agent-chat: .*start `agent-model`"):
        main(["agent-chat", "--tools", "http://127.0.0.1:9/mcp", "--data", str(tmp_path)])

"""Alerts on the command line, and what is written for Prometheus and Grafana: both take it."""

import json
import shutil
import socket
import subprocess
from pathlib import Path

import httpx
import pytest
from ruamel.yaml import YAML

from molt.adapters.playbooks import load_playbook
from molt.core.playbook import Cost
from molt.core.runbook import hash_in
from molt.ports import Notice

from .conftest import TOKENS, Molt, Server, until

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="needs prometheus and promtool (Debian: apt-get install prometheus)",
)


def test_an_alert_is_listed_and_acknowledged(molt: Molt, server: Server):
    assert molt("alerts", "list").out == "no alerts\n"
    server.call(server.alerts.notify(Notice("critical", "rolled back", "numbers", "i1")))

    assert "nobody" in molt("alerts", "list", "--open").out
    acked = molt("ack", "-m", "looking", MOLT_TOKEN=TOKENS["operator"])
    assert "operator is on it: rolled back" in acked.out
    assert molt.json("alerts", "list", "--open") == []
    assert molt("ack").code == 2


def test_ack_takes_what_one_is_paged_for_and_says_what_waits_besides(molt: Molt, server: Server):
    for notice in (
        Notice("warning", "cost asks for pause", "", "r-i1", page="incidents/r-i1"),
        Notice("critical", "rolled back", "", "r-i2", page="incidents/r-i2"),
        Notice("warning", "blind", "", "r-blind", page="rollouts/r"),
    ):
        server.call(server.alerts.notify(notice))
    said = [molt("ack").out for _ in range(3)]
    assert [title for out in said for title in ("rolled", "cost", "blind") if title in out] == [
        "rolled",
        "cost",
        "blind",
    ]
    assert "open still: 2; molt alerts list --open" in said[0]
    assert "open still" not in said[2]


def test_news_that_only_informs_waits_for_nobody(molt: Molt, server: Server):
    server.call(server.alerts.notify(Notice("critical", "rolled back", "numbers", "i1")))
    server.call(server.alerts.notify(Notice("info", "at 5%", "all gates passed", "r")))

    assert "rolled back" in molt("ack").out
    assert molt.json("alerts", "list", "--open") == []
    assert molt("ack").code == 2
    (line,) = [row for row in molt("alerts", "list").out.splitlines() if "at 5%" in row]
    assert "nobody" not in line


def test_the_runbook_is_written_and_checked(offline: Molt, tmp_path: Path):
    text = offline("runbook", "wf-11").out
    assert hash_in(text) == load_playbook("wf-11").hash()
    own = tmp_path / "own.md"
    own.write_text(text)
    assert offline("runbook", "wf-11", "--check", own).code == 0
    stale = offline("runbook", "wf-11-demo", "--check", own)
    assert (stale.code, "it was written for plan" in stale.out) == (1, True)


def test_the_runbook_is_for_the_plan_as_it_would_run_with_the_operators_budget(
    molt: Molt, server: Server, tmp_path: Path
):
    upstreams = {name: {"url": "http://127.0.0.1:9"} for name in ("control", "candidate")}
    config = {"upstreams": upstreams, "cost": {"budget_per_1000": 7.5}, "playbook": "wf-11"}
    (tmp_path / "molt.yaml").write_text(json.dumps(config))

    written = molt("runbook").out

    own = load_playbook("wf-11").with_money(Cost(budget_per_1000=7.5))
    assert hash_in(written) == own.hash() != load_playbook("wf-11").hash()


@needs_prometheus
def test_promtool_accepts_the_rules(offline: Molt, tmp_path: Path):
    path = tmp_path / "rules.yaml"
    path.write_text(offline("alerts", "rules").out)
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert YAML(typ="safe").load(offline("alerts", "alertmanager").out)["receivers"]


@pytest.mark.skipif(
    not shutil.which("amtool"),
    reason="needs amtool (Debian: apt-get install prometheus-alertmanager)",
)
def test_amtool_accepts_the_example_of_alertmanager(offline: Molt, tmp_path: Path):
    path = tmp_path / "alertmanager.yml"
    path.write_text(offline("alerts", "alertmanager").out)
    done = subprocess.run(["amtool", "check-config", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_rules_lead_to_the_runbook_of_the_console_that_people_use(
    offline: Molt, tmp_path: Path
):
    rules = YAML(typ="safe").load(offline("alerts", "rules", "--url", "https://molt.example/").out)
    links = [rule["annotations"]["runbook_url"] for rule in rules["groups"][0]["rules"]]
    base = "https://molt.example/console/"
    assert all(link.startswith((f"{base}runbook#", f"{base}incidents")) for link in links)
    assert len(links) == len(rules["groups"][0]["rules"])


def test_the_rules_and_the_dashboard_ask_only_for_metrics_that_molt_has(
    started: Molt, server: Server
):
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    known = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    known |= {f"{name}_total" for name in known} | {"molt_latency_seconds", "molt_alarm"}
    board = json.loads(started("dashboards", "grafana").out)
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = YAML(typ="safe").load(started("alerts", "rules").out)["groups"][0]["rules"]
    asked += [rule["expr"] for rule in rules]
    for expression in asked:
        words = expression.replace("(", " ").replace("{", " ").replace("[", " ").split()
        assert {w for w in words if w.startswith("molt_")} <= known, expression


@needs_prometheus
def test_a_real_prometheus_scrapes_molt_and_fires_a_rule(
    started: Molt, server: Server, tmp_path: Path
):
    rules = tmp_path / "rules.yaml"
    rules.write_text(started("alerts", "rules").out)
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": "molt", "static_configs": [{"targets": [server.url.split("//")[1]]}]}
        ],
    }
    config["global"]["evaluation_interval"] = "200ms"
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    assert started("rollback", "-y", "-m", "smoke").code == 0
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:

            def firing() -> bool:
                try:
                    url = f"http://127.0.0.1:{port}/api/v1/alerts"
                    answer = httpx.get(url, trust_env=False).json()
                except (httpx.HTTPError, ValueError):
                    return False
                return ("MoltRolledBack", "firing") in {
                    (a["labels"]["alertname"], a["state"]) for a in answer["data"]["alerts"]
                }

            until(firing, 40)
            board = json.loads(started("dashboards", "grafana").out)
            for panel in board["panels"]:
                for target in panel["targets"]:
                    query = target["expr"].replace("$rollout", ".*")
                    answer = httpx.get(
                        f"http://127.0.0.1:{port}/api/v1/query",
                        params={"query": query},
                        trust_env=False,
                    ).json()
                    assert answer["status"] == "success", (query, answer)
        finally:
            process.terminate()
            process.wait(20)

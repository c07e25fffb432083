"""Alerts on the command line: those nobody has got stand in `molt status` until somebody is on them."""

from molt.ports import Delivery, Notice

from .conftest import TOKENS, Molt, Server


def undelivered(server: Server, title: str = "rolled back", key: str = "i1") -> str:
    """An alert that the targets refused; its id."""
    server.phone.answer = Delivery(False, "json://pager: connection refused", 4)
    server.call(server.alerts.notify(Notice("critical", title, "errors: 20 of 59", key)))
    return server.alerts.all()[0].id


def test_an_alert_that_nobody_got_stands_in_the_status(started: Molt, server: Server):
    assert "UNDELIVERED" not in started("status").out
    alert = undelivered(server)

    (told,) = started.json("status")["alerts_undelivered"]
    assert (told["id"], told["severity"], told["attempts"]) == (alert, "critical", 4)
    assert "connection refused" in told["detail"]
    line = next(row for row in started("status").out.splitlines() if "UNDELIVERED" in row)
    assert alert in line
    assert line.endswith("rolled back: json://pager: connection refused")
    assert undelivered(server, "halved", "i2") != alert
    undelivered(server, "paused", "i3")
    assert "and 1 more that nobody got: molt alerts list" in started("status").out


def test_whoever_acknowledges_takes_it_off_the_status(started: Molt, server: Server):
    alert = undelivered(server)
    done = started("ack", alert, "-m", "saw it in the console")
    assert (done.code, "admin is on it" in done.out) == (0, True)
    assert started.json("status")["alerts_undelivered"] == []
    assert started("alerts", "list", "--open").out == "no alerts\n"
    again = started("ack")
    assert (again.code, "No alert is open" in again.err) == (2, True)


def test_a_viewer_cannot_acknowledge(started: Molt, server: Server):
    alert = undelivered(server)
    assert started("ack", alert, MOLT_TOKEN=TOKENS["viewer"]).code != 0
    assert [a["id"] for a in started.json("alerts", "list", "--open")] == [alert]

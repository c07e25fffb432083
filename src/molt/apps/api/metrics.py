"""Prometheus metrics, made from the evidence at each scrape: one scrape costs, requests do not."""

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from molt.apps.api.hub import Hub
from molt.control import view
from molt.control.controller import Controller
from molt.control.desk import Desk
from molt.core.assignment import CANDIDATE, CONTROL
from molt.core.evidence import LIVE, SHADOW

router = APIRouter(tags=["metrics"])

VERDICTS = {"pass": 1, "wait": 0, "fail": -1}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format; no subject, message or secret is in them."""
    registry = CollectorRegistry(auto_describe=False)
    undelivered = len(request.app.state.alerts.undelivered())
    registry.register(
        RolloutCollector(request.app.state.controller, request.app.state.hub, undelivered)
    )
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class RolloutCollector(Collector):
    """Reads every rollout's state once a scrape."""

    def __init__(self, controller: Controller, hub: Hub, undelivered: int = 0) -> None:
        self._undelivered = undelivered
        self._controller = controller
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        desks = list(self._controller.desks.values())
        yield from self._totals(desks)
        yield from self._states(desks)
        yield from self._installation()

    def _states(self, desks: list[Desk]) -> Iterator[Metric]:
        """What the rollouts are at now."""
        now = self._controller.clock.now()
        traffic = _gauge("molt_traffic_percent", "Share of subjects on the candidate", "phase")
        verdicts = _gauge("molt_ruling", "1 pass, 0 wait, -1 fail", "kind", "name")
        incidents = _gauge("molt_incidents_open", "Incidents nobody has closed")
        alarms = _gauge("molt_alarm", "Alarms that are on", "alarm")
        latency = _gauge("molt_latency_seconds", "Latency in the present step", "arm", "quantile")
        for desk in desks:
            state = view.state(desk, now, self._controller.availability)
            traffic.add_metric([desk.id, state["phase"]], state["traffic_percent"])
            incidents.add_metric([desk.id], len(desk.rollout.open_incidents))
            for kind in ("gates", "triggers"):
                for ruling in state[kind]:
                    labels = [desk.id, kind[:-1], ruling["name"]]
                    verdicts.add_metric(labels, VERDICTS[ruling["verdict"]])
            for alarm in state["alarms"]:
                alarms.add_metric([desk.id, alarm], 1)
            for arm, numbers in state["arms"].items():
                for quantile in ("p50", "p95"):
                    if numbers[f"{quantile}_ms"] is not None:
                        labels = [desk.id, arm, f"0.{quantile[1:]}"]
                        latency.add_metric(labels, numbers[f"{quantile}_ms"] / 1000)
        yield from (traffic, verdicts, incidents, alarms, latency)

    def _installation(self) -> Iterator[Metric]:
        """What belongs to no rollout."""
        gateways = GaugeMetricFamily("molt_gateways", "Gateways heard of lately")
        gateways.add_metric([], len(self._hub.applied()))
        yield gateways
        undelivered = GaugeMetricFamily("molt_alerts_undelivered", "Alerts that nobody has got")
        undelivered.add_metric([], self._undelivered)
        yield undelivered
        broken = GaugeMetricFamily("molt_store_unavailable", "1 while the store cannot be used")
        broken.add_metric([], 1 if self._controller.store_problem else 0)
        yield broken

    def _totals(self, desks: list[Desk]) -> Iterator[Metric]:
        requests = _counter("molt_requests", "Requests", "arm", "mode")
        errors = _counter("molt_errors", "Errors, as the arm's own", "arm", "mode")
        cost = _counter("molt_cost_usd", "Known cost", "arm", "mode")
        violations = _counter("molt_violations", "Security violations", "arm", "mode")
        for desk in desks:
            epochs = range(desk.rollout.epoch + 1)
            for arm in (CONTROL, CANDIDATE):
                for mode in (LIVE, SHADOW):
                    counts = desk.book.counts(epochs, arm, mode)
                    labels = [desk.id, arm, mode]
                    requests.add_metric(labels, counts.requests)
                    errors.add_metric(labels, counts.errors)
                    cost.add_metric(labels, counts.spent.total)
                    violations.add_metric(labels, counts.violations)
        yield from (requests, errors, cost, violations)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["rollout", *labels])


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=["rollout", *labels])

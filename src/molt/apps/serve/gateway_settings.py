"""molt.yaml -> what one gateway worker is told."""

from pathlib import Path

from molt.apps.serve.keys import Keys
from molt.apps.settings import Settings, Tls, Upstream, UsageFields
from molt.gateway import settings as gateway
from molt.link.settings_file import write_settings


def write_gateway_settings(settings: Settings, keys: Keys, number: int) -> Path:
    """Write the settings file of worker `number`, readable by its owner only; its path."""
    name = f"gateway-{number}"
    path = settings.data / "run" / f"{name}.json"
    write_settings(path, gateway_settings(settings, keys, name))
    return path


def gateway_settings(settings: Settings, keys: Keys, name: str) -> gateway.GatewaySettings:
    """The settings of the worker called `name`."""
    host, _, port = settings.listen.rpartition(":")
    identity = settings.identity
    return gateway.GatewaySettings(
        id=name,
        molt_url=f"http://{settings.api}",
        gateway_key=keys.gateway,
        run_key=keys.run.hex(),
        subject_key=keys.subject.hex(),
        state_dir=str(settings.data / "gateways" / name),
        audit_dir=str(settings.data / "audit"),
        control=_service(settings.upstreams.control),
        candidate=_service(settings.upstreams.candidate),
        host=host.strip("[]"),
        port=int(port),
        tls=_tls(settings.tls),
        identity=gateway.Identification(
            profiles=identity.profiles,
            agent=identity.agent,
            subject=identity.subject,
            session=identity.session,
        ),
        agent=gateway.Candidate(
            reports_actions=settings.agents.reports_actions,
            version_header=settings.agents.version_header,
            model=settings.agents.model,
            usage=_usage(settings.agents.usage),
        ),
        report_url=f"{settings.public_api}/api/v1/runs/calls",
        bounds=gateway.Bounds(body=settings.max_body, mirrors=settings.mirror_in_flight),
        prices={
            model: gateway.Price(price.input, price.output)
            for model, price in settings.prices.items()
        },
        show_arm=settings.show_arm,
        batch_seconds=BATCH_SECONDS,
        sync_seconds=settings.audit.sync_every.total_seconds(),
        log_level=settings.log_level,
    )


BATCH_SECONDS = 0.25
"""A trigger is looked at this often, so that a rollback reaches everybody within a second."""


def _service(upstream: Upstream) -> gateway.Service:
    return gateway.Service(
        url=upstream.url,
        ca=_text(upstream.ca),
        certificate=_text(upstream.client_certificate),
        key=_text(upstream.client_key),
        connect_timeout=upstream.connect_timeout.total_seconds(),
        answer_timeout=upstream.answer_timeout.total_seconds(),
    )


def _usage(named: UsageFields | None) -> gateway.UsageFields | None:
    return gateway.UsageFields(named.input, named.output, named.model) if named else None


def _tls(tls: Tls | None) -> gateway.Tls | None:
    return gateway.Tls(str(tls.certificate), str(tls.key)) if tls else None


def _text(path: Path | None) -> str | None:
    return str(path) if path else None

"""molt.yaml -> what the egress process is told."""

from collections.abc import Mapping
from pathlib import Path

from molt.apps.serve.gateway_settings import BATCH_SECONDS
from molt.apps.serve.keys import Keys
from molt.apps.serve.tool_routes import routes_of
from molt.apps.settings import Egress, ModelService, Settings, ToolService
from molt.core.errors import OperatorError
from molt.egress import settings as egress
from molt.link.settings_file import write_settings


def write_egress_settings(
    settings: Settings, section: Egress, keys: Keys, environ: Mapping[str, str]
) -> Path:
    """Write the settings file, readable by its owner only; its path. Raises `OperatorError`."""
    path = settings.data / "run" / "egress.json"
    write_settings(path, egress_settings(settings, section, keys, environ))
    return path


def egress_settings(
    settings: Settings, section: Egress, keys: Keys, environ: Mapping[str, str]
) -> egress.EgressSettings:
    """The settings, with the providers' keys read. Raises `OperatorError` for a missing one."""
    host, _, port = section.listen.rpartition(":")
    return egress.EgressSettings(
        molt_url=f"http://{settings.api}",
        gateway_key=keys.gateway,
        run_key=keys.run.hex(),
        state_dir=str(settings.data / "egress"),
        audit_dir=str(settings.data / "audit"),
        host=host.strip("[]"),
        port=int(port),
        models=tuple(_service(name, one, environ) for name, one in section.models.items()),
        models_without_run=section.models_without_run,
        tokens_counted=section.tokens_counted,
        tools=tuple(
            _tools(name, one, environ, settings.data) for name, one in section.tools.items()
        ),
        prices={
            model: egress.Price(price.input, price.output)
            for model, price in settings.prices.items()
        },
        max_body=settings.max_body,
        batch_seconds=BATCH_SECONDS,
        sync_seconds=settings.audit.sync_every.total_seconds(),
        log_level=settings.log_level,
    )


def _service(name: str, one: ModelService, environ: Mapping[str, str]) -> egress.ModelService:
    return egress.ModelService(
        name=name,
        url=one.url.rstrip("/"),
        apis=one.apis,
        models=one.models,
        key=_key(f"egress.models.{name}", one, environ),
        headers=one.headers,
        limit_field=one.limit_field,
        answer_timeout=one.answer_timeout.total_seconds(),
    )


def _tools(
    name: str, one: ToolService, environ: Mapping[str, str], data: Path
) -> egress.ToolService:
    where = f"egress.tools.{name}"
    key = _key(where, one, environ)
    return egress.ToolService(
        name=name,
        url=one.url.rstrip("/") if one.kind == "http" else one.url,
        kind=one.kind,
        headers=({"authorization": f"Bearer {key}"} if key else {}) | one.headers,
        trust_annotations=one.trust_annotations,
        answer_timeout=one.answer_timeout.total_seconds(),
        routes=routes_of(where, one, data / "egress" / f"openapi-{name}.json"),
    )


def _key(where: str, one: ModelService | ToolService, environ: Mapping[str, str]) -> str | None:
    given = [field for field in ("key", "key_file", "key_env") if getattr(one, field) is not None]
    if len(given) > 1:
        raise OperatorError(f"{where}: give one of {', '.join(given)}, not several")
    if one.key_env is not None:
        if not environ.get(one.key_env):
            raise OperatorError(f"{where}.key_env: the variable {one.key_env} is not set")
        return environ[one.key_env]
    if one.key_file is not None:
        try:
            return one.key_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise OperatorError(f"{where}.key_file: {error}") from None
    return one.key

"""Tokens from fields that the operator names, for services that speak none of the known dialects."""

from molt.gateway.json_fields import Fields
from molt.gateway.settings import UsageFields
from molt.wire.usage import UNKNOWN, Usage


class OwnUsage:
    """Reads one JSON object, whole or of an event. Raises `OperatorError` for paths that clash."""

    def __init__(self, named: UsageFields) -> None:
        paths = [path for path in (named.input, named.output, named.model) if path]
        self._fields = Fields(paths)
        self._getters = [self._fields.getter(path) for path in paths]

    def __call__(self, body: bytes) -> Usage:
        """Its usage: measured where both counts are whole numbers, else unknown."""
        fields = self._fields.read(body)
        if fields is None:
            return UNKNOWN
        values: list[object] = []
        for get in self._getters:
            try:
                values.append(get(fields))
            except AttributeError:  # something on the way there is null
                values.append(None)
        tokens_in, tokens_out, *rest = values
        model = rest[0] if rest else None
        if not (_is_count(tokens_in) and _is_count(tokens_out)):
            return UNKNOWN
        name = model if isinstance(model, str) and model else None
        return Usage(name, tokens_in, tokens_out, (), "measured")  # type: ignore[arg-type]


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0

"""Routes of an OpenAPI document (3.0 and 3.1), as tools."""

from collections.abc import Iterator
from typing import Any, Final, cast

from molt.egress.settings import Route

METHODS: Final = ("get", "head", "post", "put", "patch", "delete")
_DEEPEST: Final = 40


def routes(document: dict[str, Any]) -> Iterator[Route]:
    """A route for each operation; its tool is the `operationId`, else made from method and path.

    Raises ValueError for a document that has no paths.
    """
    paths = document.get("paths")
    if not isinstance(paths, dict):
        raise ValueError("no OpenAPI document: it has no `paths`")
    for path, item in cast("dict[str, Any]", paths).items():
        shared = _resolved(item, document)
        for method in METHODS:
            operation = shared.get(method)
            if isinstance(operation, dict):
                yield _route(method.upper(), path, operation, shared, document)


def _route(
    method: str, path: str, operation: dict[str, Any], item: dict[str, Any], document: Any
) -> Route:
    status, media = _answer(operation, document)
    example = _example(media)
    return Route(
        method=method,
        path=path,
        tool=operation.get("operationId") or _named(method, path),
        input_schema=_whole(_arguments(operation, item, document), document),
        output_schema=_whole(media.get("schema"), document),
        example=example[0] if example else None,
        has_example=bool(example),
        status=status,
    )


def _named(method: str, path: str) -> str:
    words = [w.strip("{}") for w in path.split("/") if w]
    return "_".join([method.lower(), *words]).replace("-", "_").replace(".", "_")


def _arguments(operation: dict[str, Any], item: dict[str, Any], document: Any) -> dict[str, Any]:
    """One schema over path, query and JSON body."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for raw in [*item.get("parameters", []), *operation.get("parameters", [])]:
        one = _resolved(raw, document)
        if one.get("in") in ("path", "query") and isinstance(one.get("name"), str):
            properties[one["name"]] = one.get("schema", {})
            if one.get("required"):
                required.append(one["name"])
    schema = {"type": "object", "properties": properties, "required": required}
    body = _resolved(operation.get("requestBody", {}), document)
    inner = _json_media(body.get("content", {})).get("schema")
    if inner is None:
        return schema
    both = {"allOf": [schema, inner]}
    return both if body.get("required") else {"anyOf": [both, schema]}


def _answer(operation: dict[str, Any], document: Any) -> tuple[int, dict[str, Any]]:
    """The status and media type of the answer that means success."""
    answers = {str(code): one for code, one in operation.get("responses", {}).items()}
    code = min((c for c in answers if c.startswith("2")), default="default")
    found = _resolved(answers.get(code, {}), document)
    return (int(code) if code.isdigit() else 200), _json_media(found.get("content", {}))


def _json_media(content: Any) -> dict[str, Any]:
    for kind, media in content.items() if isinstance(content, dict) else ():
        essence = str(kind).split(";")[0].strip().lower()
        if essence == "application/json" or essence.endswith("+json"):
            return cast("dict[str, Any]", media)
    return {}


def _example(media: dict[str, Any]) -> list[Any]:
    if "example" in media:
        return [media["example"]]
    named = media.get("examples")
    if isinstance(named, dict):
        return [one["value"] for one in named.values() if isinstance(one, dict) and "value" in one][
            :1
        ]
    return []


def _resolved(value: Any, document: Any) -> dict[str, Any]:
    """`value`, or what its `$ref` inside the document points to."""
    for _ in range(_DEEPEST):
        if not (isinstance(value, dict) and isinstance(value.get("$ref"), str)):
            break
        value = _at(value["$ref"], document)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _at(reference: str, document: Any) -> Any:
    if not reference.startswith("#/"):
        raise ValueError(f"$ref {reference!r}: only references inside the document are followed")
    found = document
    for part in reference[2:].split("/"):
        found = (
            found.get(part.replace("~1", "/").replace("~0", "~"))
            if isinstance(found, dict)
            else None
        )
    if found is None:
        raise ValueError(f"$ref {reference!r} leads nowhere")
    return found


def _whole(schema: Any, document: dict[str, Any]) -> Any:
    """A JSON Schema of its own: with the document's component schemas, in the words of 2020-12."""
    if schema is None:
        return None
    made = _modern(schema)
    components = document.get("components", {}).get("schemas", {})
    if not isinstance(made, dict) or not components:
        return made
    return {"allOf": [made], "components": {"schemas": _modern_all(components)}}


def _modern_all(schemas: dict[str, Any]) -> dict[str, Any]:
    return {name: _modern(schema) for name, schema in schemas.items()}


def _modern(schema: Any) -> Any:
    """A schema of OpenAPI 3.0 as JSON Schema 2020-12; one of 3.1 stays as it is."""
    if isinstance(schema, list):
        return [_modern(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: value if key in _DATA else _modern(value) for key, value in schema.items()}
    if out.pop("nullable", False) is True and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    for inclusive, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if out.get(exclusive) is True and inclusive in out:
            out[exclusive] = out.pop(inclusive)
        elif isinstance(out.get(exclusive), bool):
            del out[exclusive]
    if "example" in out and not isinstance(out["example"], dict | list):
        out.setdefault("examples", [out.pop("example")])
    return out


_DATA: Final = frozenset({"const", "enum", "default", "example", "examples"})

"""Routes from an OpenAPI document, of either version, and from the table in molt.yaml."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from molt.apps.serve.tool_routes import routes_of
from molt.apps.settings import ToolService
from molt.core.dry_run import dry_run
from molt.core.errors import OperatorError
from molt.egress import openapi

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "paths": {
        "/orders/{id}": {
            "parameters": [{"$ref": "#/components/parameters/id"}],
            "get": {"operationId": "get_order", "responses": {"200": {"description": "it"}}},
        },
        "/cart/add": {
            "post": {
                "operationId": "add_to_cart",
                "parameters": [{"name": "gift", "in": "query", "schema": {"type": "boolean"}}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Line"}}},
                },
                "responses": {
                    "201": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Cart"}}
                        }
                    },
                    "400": {"description": "no"},
                },
            },
            "delete": {"responses": {204: {"description": "gone"}}},
        },
    },
    "components": {
        "parameters": {
            "id": {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
        },
        "schemas": {
            "Line": {
                "type": "object",
                "required": ["item"],
                "properties": {
                    "item": {"type": "string"},
                    "note": {"type": "string", "nullable": True},
                    "quantity": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                },
            },
            "Cart": {
                "type": "object",
                "required": ["lines", "total"],
                "properties": {
                    "lines": {
                        "type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Line"},
                    },
                    "total": {"type": "number", "example": 4.5},
                },
            },
        },
    },
}  # fmt: skip


def test_operations_become_tools_with_schemas_of_their_own():
    get, post, delete = openapi.routes(DOCUMENT)
    assert (get.method, get.path, get.tool) == ("GET", "/orders/{id}", "get_order")
    assert Draft202012Validator(get.input_schema).is_valid({"id": 7})
    assert not Draft202012Validator(get.input_schema).is_valid({})
    assert (post.tool, post.status) == ("add_to_cart", 201)
    assert (delete.tool, delete.status) == ("delete_cart_add", 204)


def test_a_dry_run_follows_the_schemas_of_version_3_0():
    post = list(openapi.routes(DOCUMENT))[1]
    wrong = dry_run(post.input_schema, post.output_schema, {"item": "tea", "quantity": 0})
    assert wrong.kind == "arguments"
    made = dry_run(post.input_schema, post.output_schema, {"item": "tea", "note": None})
    assert made.kind == "result"
    assert made.result["total"] == 4.5
    assert made.result["lines"][0]["item"] == "tea"
    Draft202012Validator(post.output_schema).validate(made.result)


def service(**more: Any) -> ToolService:
    return ToolService.model_validate({"kind": "http", "url": "http://127.0.0.1:1", **more})


def test_the_table_names_routes_and_wins_over_the_document(tmp_path: Path):
    import json

    (tmp_path / "shop.json").write_text(json.dumps(DOCUMENT))
    one = service(
        openapi=str(tmp_path / "shop.json"),
        routes={
            "POST /cart/add": "cart_add",
            "POST /wipe": {"tool": "wipe", "example": {"gone": 0}},
        },
    )
    found = {r.tool: r for r in routes_of("egress.tools.shop", one, tmp_path / "kept")}
    assert sorted(found) == ["cart_add", "delete_cart_add", "get_order", "wipe"]
    assert found["cart_add"].output_schema is not None
    assert found["wipe"].example == {"gone": 0}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"routes": {"ADD /cart": "a"}}, "expected METHOD /path"),
        ({"openapi": "nowhere.yaml"}, "No such file"),
        ({}, "needs `routes` or `openapi`"),
        ({"kind": "mcp", "routes": {"GET /a": "a"}}, "belong to `kind: http`"),
        ({"routes": {"GET /a": {"tool": "a", "response": {"type": "odd"}}}}, "not a JSON Schema"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, given: dict[str, Any], says: str):
    with pytest.raises(OperatorError, match=rf"egress\.tools\.shop.*{says}"):
        routes_of("egress.tools.shop", service(**given), tmp_path / "kept")

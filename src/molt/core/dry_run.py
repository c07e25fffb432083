"""The answer of a tool that was not executed, made from its schemas alone."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

from molt.core.arguments import schema_problem
from molt.core.synthetic import CannotSynthesise, synthesise


class DryRun(NamedTuple):
    """What a dry run gives: a `result` (None where the tool declares no schema), what is wrong with
    the `arguments`, or why no result could be made (`unknown`)."""

    kind: Literal["result", "arguments", "unknown"]
    result: Any = None
    problem: str = ""


def dry_run(input_schema: Any, output_schema: Any, arguments: Any) -> DryRun:
    """Check the arguments as the tool would, and make a result that satisfies its schema."""
    if input_schema is not None:
        problem = schema_problem(input_schema, arguments)
        if problem is not None:
            return DryRun("arguments", problem=problem)
    if output_schema is None:
        return DryRun("result")
    hints: Mapping[str, Any] = {}
    if isinstance(arguments, Mapping):
        hints = cast("Mapping[str, Any]", arguments)
    try:
        return DryRun("result", synthesise(output_schema, hints))
    except CannotSynthesise as error:
        return DryRun("unknown", problem=str(error))

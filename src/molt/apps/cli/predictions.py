"""Files that `molt plan --save` wrote."""

import json
from pathlib import Path
from typing import Any

from molt.core.errors import OperatorError


def saved_prediction(path: Path) -> dict[str, Any]:
    """What the file holds, as the API takes it. Raises `OperatorError`."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OperatorError(f"{path} is not what `molt plan --save FILE` writes: a JSON object")
    return found

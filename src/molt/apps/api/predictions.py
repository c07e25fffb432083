"""What `molt plan` foresaw, as people send it."""

from typing import Any

import msgspec

from molt.core.errors import OperatorError
from molt.core.playbook import Playbook
from molt.core.prediction import Prediction


def of(plan: dict[str, Any]) -> Prediction:
    """The prediction that JSON data holds. Raises `OperatorError`."""
    try:
        return msgspec.convert(plan, Prediction)
    except msgspec.ValidationError as error:
        raise OperatorError(
            f"plan: {error}; expected what `molt plan --save FILE` or `molt plan --json` writes"
        ) from None


def refuse_other_plan(prediction: Prediction, playbook: Playbook) -> None:
    """Raise `OperatorError` where it was made for another plan than the one that starts."""
    if prediction.playbook_hash != playbook.hash():
        raise OperatorError(
            f"plan: it foresees another plan ({prediction.playbook}, hash "
            f"{prediction.playbook_hash[:12]}) than the one to start ({playbook.name}, hash "
            f"{playbook.hash()[:12]}, this server's `cost` included). Run `molt plan --config "
            "MOLT.YAML --save FILE` again with this playbook and the server's molt.yaml"
        )

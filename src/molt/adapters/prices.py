"""What a use of a model costs: the operator's own table first, then the dated public price list."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final, NamedTuple, Protocol

from genai_prices import Usage, calc_price
from genai_prices.types import TieredPrices

from molt.adapters.clocks import SystemClock
from molt.ports import Clock

REMEMBERED_SECONDS: Final = 3600.0
"""Public prices are dated; a worker that runs for weeks looks again this often."""
MOST_REMEMBERED: Final = 1000
"""Model names come from answers, so their number has no natural bound."""

Steps = tuple[tuple[int, float], ...]


class Price(NamedTuple):
    """USD for a million tokens in and out."""

    input: float
    output: float


class PerMillion(Protocol):
    """Anything with both prices: `Price`, or an entry of a config model."""

    @property
    def input(self) -> float: ...

    @property
    def output(self) -> float: ...


class Rates(NamedTuple):
    """USD a token, each as (more input tokens than this, rate), falling; the first that fits holds.

    `request` is USD a request, whatever its size.
    """

    input: Steps
    output: Steps
    request: float = 0.0


class Prices:
    """Costs of model uses. `table` maps model globs to prices; its first match counts."""

    def __init__(self, table: Mapping[str, PerMillion], clock: Clock | None = None) -> None:
        self._table = [
            (glob.lower(), Rates(((-1, price.input / 1e6),), ((-1, price.output / 1e6),)))
            for glob, price in table.items()
        ]
        self._monotonic = (clock or SystemClock()).monotonic
        self._known: dict[str, tuple[float, Rates | None]] = {}

    def cost(self, model: str | None, input_tokens: int, output_tokens: int) -> float | None:
        """USD, or None when the price is unknown: unknown is never zero."""
        if model is None:
            return None
        known = self._known.get(model)
        now = self._monotonic()
        if known is None or known[0] < now:
            known = self._look_up(model, now)
        rates = known[1]
        if rates is None:
            return None
        return (
            rates.request
            + input_tokens * _rate(rates.input, input_tokens)
            + output_tokens * _rate(rates.output, input_tokens)
        )

    def _look_up(self, model: str, now: float) -> tuple[float, Rates | None]:
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        name = model.lower()
        own = next((rates for glob, rates in self._table if fnmatchcase(name, glob)), None)
        entry = (now + REMEMBERED_SECONDS, own or _public(model))
        self._known[model] = entry
        return entry


def _rate(steps: Steps, input_tokens: int) -> float:
    for above, rate in steps:
        if input_tokens > above:
            return rate
    return 0.0


def _public(model: str) -> Rates | None:
    """The listed price; a name such as `openai/gpt-4o` is also tried as provider and model."""
    attempts: list[tuple[str, str | None]] = [(model, None)]
    for separator in ("/", ":"):
        provider, found, rest = model.partition(separator)
        if found:
            attempts.append((rest, provider))
    for name, provider in attempts:
        try:
            listed = calc_price(Usage(input_tokens=1, output_tokens=1), name, provider_id=provider)
        except (LookupError, ValueError):
            continue
        price = listed.model_price
        if price.input_mtok is None or price.output_mtok is None:
            return None  # priced by something other than tokens, such as seconds of sound
        per_thousand = getattr(price, "requests_kcount", None) or 0
        request = float(per_thousand) / 1000
        return Rates(_steps(price.input_mtok), _steps(price.output_mtok), request)
    return None


def _steps(price: object) -> Steps:
    if isinstance(price, TieredPrices):
        above = [(tier.start, float(tier.price) / 1e6) for tier in reversed(price.tiers)]
        return (*above, (-1, float(price.base) / 1e6))
    return ((-1, float(price) / 1e6),)  # type: ignore[arg-type]  # the library declares no types here

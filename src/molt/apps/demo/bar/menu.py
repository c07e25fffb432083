"""What the bar sells, as frozen values: items, options with their surcharges, venues, research notes.

Prices are US dollars. Both the existing system and the tool server sell from this one list.
"""

from dataclasses import dataclass
from functools import cache

from molt.apps.demo.bar.words import tokens


@dataclass(frozen=True, slots=True)
class Item:
    """One thing on the menu; `groups` names the option groups that apply to it."""

    id: str
    name: str
    category: str
    price: float
    description: str
    tags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Venue:
    """A place that serves the menu, with its number of tables."""

    id: str
    name: str
    district: str
    tables: int
    features: tuple[str, ...]


OPTIONS: dict[str, dict[str, float]] = {
    "Size": {"Small": -0.4, "Large": 0.8},
    "Milk": {
        "Whole Milk": 0.0,
        "2% Milk": 0.0,
        "Non-fat Milk": 0.0,
        "Lactose Free Milk": 0.3,
        "Oat Milk": 0.6,
        "Almond Milk": 0.6,
        "No Milk": 0.0,
    },
    "Sweetener": {
        "Vanilla": 0.5,
        "Sugar Free Vanilla": 0.5,
        "Hazelnut": 0.5,
        "Chocolate Sauce": 0.5,
        "Caramel Sauce": 0.5,
        "Honey": 0.3,
        "Sugar": 0.0,
    },
    "Shots": {"Single": 0.0, "Double": 0.8, "Triple": 1.6, "Quadruple": 2.4},
    "Caffeine": {"Decaf": 0.0},
    "Temperature": {"Hot": 0.0, "Iced": 0.0},
}
"""Option group -> option -> surcharge."""

COFFEE = ("Size", "Milk", "Sweetener", "Shots", "Caffeine", "Temperature")
MILKY = ("Size", "Milk", "Sweetener", "Caffeine", "Temperature")
TEA = ("Size", "Milk", "Sweetener", "Caffeine", "Temperature")


def _coffee(name: str, price: float, text: str, *aliases: str, tags: tuple[str, ...] = ()) -> Item:
    tags = ("coffee", "espresso", "drink", *tags)
    return Item(_slug(name), name, "coffee", price, text, tags, aliases, COFFEE)


def _tea(name: str, price: float, kind: str, text: str, *aliases: str) -> Item:
    return Item(_slug(name), name, "tea", price, text, ("tea", "drink", kind), aliases, TEA)


def _pour(name: str, category: str, price: float, text: str, *tags: str) -> Item:
    return Item(_slug(name), name, category, price, text, (category, "drink", *tags))


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


ITEMS: tuple[Item, ...] = (
    _coffee("Espresso", 2.8, "one short, strong shot of our house blend (2 oz)"),
    _coffee("Americano", 3.2, "espresso lengthened with hot water (12 oz)"),
    _coffee("Latte", 4.4, "espresso, plenty of steamed milk and a little foam (12 oz)", "cafe latte"),
    _coffee("Cappuccino", 4.2, "espresso with steamed milk and a thick cap of foam (8 oz)", "capp"),
    _coffee("Mocha", 4.8, "espresso, chocolate sauce and steamed milk (12 oz)", tags=("chocolate",)),
    _coffee("Cortado", 3.9, "equal parts of espresso and warm milk (4 oz)"),
    _coffee("Macchiato", 3.6, "espresso marked with a spoon of milk foam (3 oz)"),
    _coffee("Cold Brew", 4.1, "coffee steeped cold overnight, served over ice (16 oz)", "coldbrew"),
    _coffee("Drip Coffee", 2.9, "filter coffee of the day (12 oz)", "black coffee", "filter coffee"),
    Item("chai-latte", "Chai Latte", "tea", 4.5, "spiced black tea concentrate with steamed milk (12 oz)",
         ("tea", "chai", "drink"), ("chai", "chai tea latte", "chai tea"), MILKY),
    Item("matcha-latte", "Matcha Latte", "tea", 4.9, "whisked green matcha with steamed milk (12 oz)",
         ("tea", "matcha", "green", "drink"), ("matcha",), MILKY),
    Item("hot-chocolate", "Hot Chocolate", "chocolate", 4.0, "chocolate melted into steamed milk (12 oz)",
         ("chocolate", "drink"), ("hot cocoa", "cocoa"), MILKY),
    Item("steamer", "Steamer", "milk", 3.4, "steamed milk with microfoam and no coffee (12 oz)",
         ("milk", "drink"), (), MILKY),
    _tea("Earl Grey", 3.3, "black", "black tea with bergamot", "earl gray", "earl grey tea"),
    _tea("Lavender Earl Grey", 3.5, "black", "black tea with bergamot and lavender", "lavender earl gray"),
    _tea("English Breakfast", 3.3, "black", "a full, malty black tea", "english breakfast tea"),
    _tea("Jin Xuan", 3.9, "oolong", "a creamy oolong", "jin xuan oolong", "oolong tea"),
    _tea("Cloud and Mist", 3.8, "green", "a mild mountain green tea", "cloud and mist tea"),
    _tea("Wild Strawberry", 3.5, "herbal", "a fruit infusion of strawberries", "wild strawberry tea",
         "wild strawberry green tea"),
    _tea("Peppermint Rose", 3.5, "herbal", "peppermint leaves and rose petals", "peppermint rose tea"),
    _tea("Chamomile", 3.3, "herbal", "chamomile flowers, no caffeine", "chamomile tea"),
    _tea("Tangerine Rooibos", 3.5, "herbal", "rooibos with tangerine peel", "rooibos"),
    _tea("Ginger Green Cold Steep Tea", 3.9, "green", "green tea with ginger, steeped cold",
         "ginger green cold tea", "ginger green tea", "ginger green"),
    _pour("Harbour Pilsner", "beer", 5.2, "a crisp local pilsner, 5.0%", "pilsner", "lager", "alcohol"),
    _pour("Amber Ale", "beer", 5.6, "a malty amber ale, 5.4%", "ale", "alcohol"),
    _pour("Night Shift Stout", "beer", 5.9, "a dry stout with roasted notes, 4.6%", "stout", "alcohol"),
    _pour("Clear Head", "beer", 4.8, "an alcohol-free wheat beer", "wheat", "alcoholfree"),
    _pour("House Red", "wine", 6.4, "a light red by the glass", "red", "alcohol"),
    _pour("House White", "wine", 6.4, "a dry white by the glass", "white", "alcohol"),
    _pour("Lemonade", "soft", 3.6, "pressed this morning", "soda", "lemon"),
    _pour("Sparkling Water", "soft", 2.6, "a cold bottle", "water", "soda"),
    Item("croissant", "Croissant", "food", 3.2, "butter croissant", ("food", "pastry", "pastries", "snack")),
    Item("banana-bread", "Banana Bread", "food", 3.8, "a slice, toasted",
         ("food", "pastry", "pastries", "cake", "snack")),
)  # fmt: skip

BY_ID: dict[str, Item] = {item.id: item for item in ITEMS}
SURCHARGES: dict[str, float] = {name: extra for g in OPTIONS.values() for name, extra in g.items()}
GROUP_OF: dict[str, str] = {name: group for group, g in OPTIONS.items() for name in g}

VENUES: tuple[Venue, ...] = (
    Venue("venue-1", "The Moulting Crab", "Harbour", 24, ("terrace", "live music", "wifi")),
    Venue("venue-2", "Carapace", "Old Town", 16, ("rooftop", "cocktails")),
    Venue("venue-3", "Tidepool Coffee", "University", 12, ("wifi", "quiet", "coffee")),
)
VENUE_BY_ID: dict[str, Venue] = {venue.id: venue for venue in VENUES}


@dataclass(frozen=True, slots=True)
class Note:
    """One document of the fixed research corpus."""

    title: str
    url: str
    text: str


CORPUS: tuple[Note, ...] = (
    Note("Coffee prices", "corpus://coffee-prices",
         "Green arabica rose by a tenth over the year; bars pass on about half of it."),
    Note("Oat milk demand", "corpus://oat-milk",
         "Oat is the most asked-for plant milk in city bars, ahead of almond."),
    Note("Alcohol-free beer", "corpus://alcohol-free",
         "Alcohol-free beer grows fastest on weekday evenings and with food."),
    Note("Waiting times", "corpus://waiting",
         "Guests who wait longer than eight minutes for a drink order less often again."),
    Note("Tea trends", "corpus://tea",
         "Cold-steeped green tea sells in summer; herbal infusions sell all year."),
)  # fmt: skip


@cache
def _index() -> tuple[tuple[Item, frozenset[str], frozenset[str]], ...]:
    """Each item with the words of its names and with all words it is found by."""
    rows: list[tuple[Item, frozenset[str], frozenset[str]]] = []
    for item in ITEMS:
        names = frozenset(w for name in (item.name, *item.aliases) for w in tokens(name))
        rows.append((item, names, names | frozenset(item.tags) | {item.category}))
    return tuple(rows)


IGNORED = frozenset(
    [
        "a",
        "an",
        "the",
        "some",
        "any",
        "of",
        "with",
        "and",
        "or",
        "drink",
        "drinks",
        "kind",
        "kinds",
        "type",
        "types",
        "your",
    ]
)


@cache
def search(query: str, limit: int = 6) -> tuple[Item, ...]:
    """The items that match every word of `query`, best first; an empty query lists the menu.

    Option words (milk, sweeteners, iced) do not exclude an item. Nothing found is an empty tuple.
    """
    wanted = [w for w in tokens(query) if w not in IGNORED]
    if not wanted:
        return ITEMS[:limit] if not query.strip() or tokens(query) else ()
    found: list[tuple[int, int, Item]] = []
    for place, (item, names, known) in enumerate(_index()):
        if all(w in known for w in wanted):
            exact = tokens(item.name) == tuple(wanted)
            found.append(
                (-2 if exact else -sum(w in names for w in wanted) // len(wanted), place, item)
            )
    return tuple(item for _, _, item in sorted(found, key=lambda f: f[:2])[:limit])


def options_of(item: Item) -> dict[str, list[str]]:
    """Option group -> options that `item` can be ordered with."""
    return {group: list(OPTIONS[group]) for group in item.groups}


def price_of(item: Item, options: tuple[str, ...] | list[str]) -> float:
    """The price of one `item` with `options`, in dollars, rounded to cents."""
    return round(item.price + sum(SURCHARGES[name] for name in options), 2)

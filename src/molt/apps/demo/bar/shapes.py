"""What each tool answers, as types: the tool server derives its output schemas from them."""

from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12


class MenuItem(TypedDict):
    """A menu item; price in US dollars."""

    item_id: str
    name: str
    category: str
    price: float


class MenuItems(TypedDict):
    """Items found for a query, best first."""

    query: str
    items: list[MenuItem]


class OptionGroup(TypedDict):
    """A choice such as Milk, with what can be chosen."""

    group: str
    options: list[str]


class ItemDetails(MenuItem):
    """One item in full."""

    description: str
    option_groups: list[OptionGroup]


class CartLine(TypedDict):
    """One line of a cart; line_total in US dollars."""

    line_id: int
    item_id: str
    name: str
    quantity: int
    options: list[str]
    notes: str
    line_total: float


class AddedLine(CartLine):
    """The new line and what the cart costs with it."""

    cart_id: str
    cart_total: float


class Cart(TypedDict):
    """All lines of a cart."""

    cart_id: str
    lines: list[CartLine]
    total: float


class RemovedLine(TypedDict):
    """The removed line's id and what the cart costs without it."""

    cart_id: str
    removed: int
    cart_total: float


class PlacedOrder(TypedDict):
    """An accepted order."""

    order_id: str
    status: str
    total: float
    ready_in_minutes: int


class Order(PlacedOrder):
    """An order as the bar sees it."""

    items: list[str]
    name: str
    order_type: str
    table_no: str


class Orders(TypedDict):
    """Orders, newest first."""

    orders: list[Order]


class StaffCall(TypedDict):
    """A call for staff and the seconds until somebody comes."""

    call_id: str
    response_seconds: int


class Recommendations(TypedDict):
    """Items worth trying."""

    items: list[MenuItem]


class SalesSummary(TypedDict):
    """Sales of a venue; money in US dollars."""

    venue_id: str
    orders: int
    revenue: float
    mean_order: float


class Approval(TypedDict):
    """Something that waits for, or got, a decision."""

    approval_id: str
    what: str
    asked_by: str
    status: str


class Approvals(TypedDict):
    """Approvals that nobody has decided."""

    approvals: list[Approval]


class VenueData(TypedDict):
    """A venue."""

    venue_id: str
    name: str
    district: str
    tables: int
    features: list[str]


class Venues(TypedDict):
    """Venues."""

    venues: list[VenueData]


class VenueMenu(TypedDict):
    """The whole menu of a venue."""

    venue_id: str
    items: list[MenuItem]


class Finding(TypedDict):
    """One document of the corpus."""

    title: str
    url: str
    text: str


class Findings(TypedDict):
    """Documents that match a question."""

    results: list[Finding]

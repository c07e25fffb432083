"""The bar's books in one SQLite file: carts, orders, staff calls, approvals.

Calls are synchronous and take tens of microseconds (WAL, no fsync per commit): they run on the
event loop of the service that owns the file. Refusals are raised as `Refused` with a sentence that
can be shown to a guest.
"""

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from molt.apps.demo.bar.menu import BY_ID, GROUP_OF, VENUE_BY_ID, Item, Venue, price_of

SCHEMA = """
CREATE TABLE IF NOT EXISTS cart_lines (
    line INTEGER PRIMARY KEY AUTOINCREMENT, cart TEXT NOT NULL, venue TEXT NOT NULL, item TEXT NOT NULL,
    quantity INTEGER NOT NULL, options TEXT NOT NULL, notes TEXT NOT NULL, price REAL NOT NULL);
CREATE INDEX IF NOT EXISTS cart_lines_cart ON cart_lines (cart);
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT, cart TEXT NOT NULL, venue TEXT NOT NULL, lines TEXT NOT NULL,
    total REAL NOT NULL, name TEXT NOT NULL, order_type TEXT NOT NULL, table_no TEXT NOT NULL,
    status TEXT NOT NULL, at REAL NOT NULL, run TEXT NOT NULL, mode TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS orders_cart ON orders (cart);
CREATE INDEX IF NOT EXISTS orders_mode ON orders (mode);
CREATE TABLE IF NOT EXISTS staff_calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT, venue TEXT NOT NULL, table_no TEXT NOT NULL,
    reason TEXT NOT NULL, at REAL NOT NULL, run TEXT NOT NULL, mode TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS approvals (
    id TEXT PRIMARY KEY, venue TEXT NOT NULL, what TEXT NOT NULL, asked_by TEXT NOT NULL,
    status TEXT NOT NULL, decision_by TEXT NOT NULL);
"""

APPROVALS = (
    ("A-1", "venue-1", "discount of 20% on the staff party", "bar manager"),
    ("A-2", "venue-1", "new supplier of oat milk", "kitchen"),
    ("A-3", "venue-2", "longer opening hours on Saturday", "bar manager"),
)
STATUSES = ("received", "preparing", "ready", "served", "cancelled")


class Refused(Exception):
    """What was asked cannot be done; the message says why in words for a guest."""


class Books:
    """One bar's state on disk. `run` and `mode` say on whose behalf a writing call was made."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, cached_statements=64)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA)
        self._db.executemany(
            "INSERT OR IGNORE INTO approvals VALUES (?,?,?,?,'pending','')", APPROVALS
        )

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def add(
        self, cart: str, venue: str, item_id: str, quantity: int, options: Sequence[str], notes: str
    ) -> dict[str, Any]:
        """The new cart line; raises `Refused` for an unknown item, option, venue or quantity."""
        item, _ = known_item(item_id), known_venue(venue)
        if not 1 <= quantity <= 20:
            raise Refused(f"quantity is {quantity}; between 1 and 20 can be ordered at once")
        for name in options:
            if GROUP_OF.get(name) not in item.groups:
                raise Refused(f"{item.name} does not come with {name!r}")
        total = round(price_of(item, list(options)) * quantity, 2)
        row = (cart, venue, item_id, quantity, json.dumps(list(options)), notes, total)
        cursor = self._db.execute(
            "INSERT INTO cart_lines (cart,venue,item,quantity,options,notes,price) VALUES (?,?,?,?,?,?,?)",
            row,
        )
        line = _line(int(cursor.lastrowid or 0), item, quantity, list(options), notes, total)
        return line | {"cart_id": cart, "cart_total": self._total(cart)}

    def cart(self, cart: str) -> dict[str, Any]:
        """The lines of a cart and their total in dollars; an unknown cart is empty."""
        rows = self._db.execute(
            "SELECT * FROM cart_lines WHERE cart=? ORDER BY line", (cart,)
        ).fetchall()
        lines = [
            _line(
                r["line"],
                BY_ID[r["item"]],
                r["quantity"],
                json.loads(r["options"]),
                r["notes"],
                r["price"],
            )
            for r in rows
        ]
        return {"cart_id": cart, "lines": lines, "total": round(sum(r["price"] for r in rows), 2)}

    def remove(self, cart: str, line: int) -> dict[str, Any]:
        """The total after one line is gone; raises `Refused` when the cart has no such line."""
        if not self._db.execute(
            "DELETE FROM cart_lines WHERE cart=? AND line=?", (cart, line)
        ).rowcount:
            raise Refused(f"there is no line {line} in this cart")
        return {"cart_id": cart, "removed": line, "cart_total": self._total(cart)}

    def place(
        self,
        cart: str,
        *,
        name: str = "",
        order_type: str = "here",
        table_no: str = "",
        run: str = "",
        mode: str = "",
    ) -> dict[str, Any]:
        """The placed order; empties the cart in the same transaction. Raises `Refused` when it is empty."""
        content = self.cart(cart)
        if not content["lines"]:
            raise Refused("the cart is empty")
        venue = self._db.execute(
            "SELECT venue FROM cart_lines WHERE cart=? LIMIT 1", (cart,)
        ).fetchone()[0]
        row = (
            cart,
            venue,
            json.dumps(content["lines"]),
            content["total"],
            name,
            order_type,
            table_no,
        )
        self._db.execute("BEGIN IMMEDIATE")
        try:
            cursor = self._db.execute(
                "INSERT INTO orders (cart,venue,lines,total,name,order_type,table_no,status,at,run,mode)"
                " VALUES (?,?,?,?,?,?,?,'received',?,?,?)",
                (*row, time.time(), run, mode),
            )
            self._db.execute("DELETE FROM cart_lines WHERE cart=?", (cart,))
        except sqlite3.Error:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        return {
            "order_id": f"O-{cursor.lastrowid}",
            "status": "received",
            "total": content["total"],
            "ready_in_minutes": 3 + len(content["lines"]),
        }

    def order(self, order_id: str) -> dict[str, Any]:
        """One order's status; raises `Refused` when it is unknown."""
        return _order(self._find(order_id))

    def order_of(self, cart: str) -> dict[str, Any] | None:
        """The latest order that a cart became, or None."""
        row = self._db.execute(
            "SELECT * FROM orders WHERE cart=? ORDER BY id DESC LIMIT 1", (cart,)
        ).fetchone()
        return _order(row) if row else None

    def active(self, venue: str, limit: int = 10) -> list[dict[str, Any]]:
        """The newest orders of a venue that are neither served nor cancelled."""
        rows = self._db.execute(
            "SELECT * FROM orders WHERE venue=? AND status NOT IN ('served','cancelled') ORDER BY id DESC LIMIT ?",
            (known_venue(venue).id, limit),
        )
        return [_order(row) for row in rows]

    def set_status(self, order_id: str, status: str) -> dict[str, Any]:
        """The order with its new status; raises `Refused` for an unknown order or status."""
        row = self._find(order_id)
        if status not in STATUSES:
            raise Refused(f"{status!r} is no status; use one of {', '.join(STATUSES)}")
        self._db.execute("UPDATE orders SET status=? WHERE id=?", (status, row["id"]))
        return _order(self._find(order_id))

    def sales(self, venue: str) -> dict[str, Any]:
        """Number of orders, revenue and mean order value in dollars, of a venue."""
        row = self._db.execute(
            "SELECT count(*) AS n, coalesce(sum(total),0) AS sum FROM orders WHERE venue=? AND status<>'cancelled'",
            (known_venue(venue).id,),
        ).fetchone()
        mean = row["sum"] / row["n"] if row["n"] else 0.0
        return {
            "venue_id": venue,
            "orders": row["n"],
            "revenue": round(row["sum"], 2),
            "mean_order": round(mean, 2),
        }

    def call_staff(
        self, venue: str, table_no: str, reason: str, run: str = "", mode: str = ""
    ) -> dict[str, Any]:
        """The call's id and the seconds until somebody comes."""
        cursor = self._db.execute(
            "INSERT INTO staff_calls (venue,table_no,reason,at,run,mode) VALUES (?,?,?,?,?,?)",
            (known_venue(venue).id, table_no, reason, time.time(), run, mode),
        )
        number = int(cursor.lastrowid or 0)
        return {"call_id": f"S-{number}", "response_seconds": 45 + number * 37 % 90}

    def pending(self, venue: str) -> list[dict[str, Any]]:
        """Approvals of a venue that nobody has decided."""
        rows = self._db.execute(
            "SELECT * FROM approvals WHERE venue=? AND status='pending' ORDER BY id", (venue,)
        )
        return [_approval(row) for row in rows]

    def resolve(self, approval_id: str, decision: str, by: str) -> dict[str, Any]:
        """The decided approval; raises `Refused` when it is unknown. Deciding again is allowed and recorded."""
        if decision not in ("approved", "rejected"):
            raise Refused(f"{decision!r} is no decision; use approved or rejected")
        changed = self._db.execute(
            "UPDATE approvals SET status=?, decision_by=? WHERE id=?", (decision, by, approval_id)
        ).rowcount
        if not changed:
            raise Refused(f"there is no approval {approval_id}")
        return _approval(
            self._db.execute("SELECT * FROM approvals WHERE id=?", (approval_id,)).fetchone()
        )

    def counts(self) -> dict[str, int]:
        """Orders in all, and those that were executed on behalf of shadow runs."""
        count = self._db.execute(
            "SELECT count(*), coalesce(sum(mode='shadow'),0) FROM orders"
        ).fetchone()
        staff = self._db.execute(
            "SELECT count(*), coalesce(sum(mode='shadow'),0) FROM staff_calls"
        ).fetchone()
        return {
            "orders": count[0],
            "orders_by_shadow_runs": count[1],
            "staff_calls": staff[0],
            "staff_calls_by_shadow_runs": staff[1],
        }

    def _find(self, order_id: str) -> sqlite3.Row:
        number = order_id.upper().removeprefix("O-")
        found = (
            self._db.execute("SELECT * FROM orders WHERE id=?", (number,)).fetchone()
            if number.isdigit()
            else None
        )
        if found is None:
            raise Refused(f"there is no order {order_id}")
        return found

    def _total(self, cart: str) -> float:
        row = self._db.execute(
            "SELECT coalesce(sum(price),0) FROM cart_lines WHERE cart=?", (cart,)
        ).fetchone()
        return round(row[0], 2)


def known_item(item_id: str) -> Item:
    """The item, or `Refused`."""
    if item_id not in BY_ID:
        raise Refused(f"there is no {item_id!r} on the menu")
    return BY_ID[item_id]


def known_venue(venue_id: str) -> Venue:
    """The venue, or `Refused` with the known ones."""
    if venue_id not in VENUE_BY_ID:
        raise Refused(f"there is no venue {venue_id!r}; known are {', '.join(VENUE_BY_ID)}")
    return VENUE_BY_ID[venue_id]


def _line(
    line: int, item: Item, quantity: int, options: list[str], notes: str, price: float
) -> dict[str, Any]:
    return {
        "line_id": line, "item_id": item.id, "name": item.name, "quantity": quantity,
        "options": options, "notes": notes, "line_total": price,
    }  # fmt: skip


def _order(row: sqlite3.Row) -> dict[str, Any]:
    items = [f"{line['quantity']} x {line['name']}" for line in json.loads(row["lines"])]
    left = {"received": 5, "preparing": 2}.get(row["status"], 0)
    return {
        "order_id": f"O-{row['id']}", "status": row["status"], "total": row["total"], "items": items,
        "name": row["name"], "order_type": row["order_type"], "table_no": row["table_no"], "ready_in_minutes": left,
    }  # fmt: skip


def _approval(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "approval_id": row["id"],
        "what": row["what"],
        "asked_by": row["asked_by"],
        "status": row["status"],
    }

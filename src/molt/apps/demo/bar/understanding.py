"""What a guest means: one sentence in, one `Intent` out. Rules only, no model, no state of its own.

The existing system and the agent's offline model share these rules, so that a comparison of the
two measures the services and not two parsers.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from molt.apps.demo.bar.menu import search
from molt.apps.demo.bar.orderlines import Line, lines_of, name_in, options_in
from molt.apps.demo.bar.words import tokens


class Kind(StrEnum):
    """What a sentence asks for."""

    ORDER = "order"
    CHANGE = "change"
    CONFIRM = "confirm"
    DECLINE = "decline"
    LIST = "list"
    DETAILS = "details"
    OPTIONS = "options"
    AVAILABLE = "available"
    CART = "cart"
    REMOVE = "remove"
    STATUS = "status"
    STAFF = "staff"
    RECOMMEND = "recommend"
    REFER = "refer"
    GREETING = "greeting"
    THANKS = "thanks"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Intent:
    """One understood sentence.

    `topic` is what a question or an unknown order is about; `lines` are known items;
    `options` are those named without an item ("make it decaf").
    """

    kind: Kind
    topic: str = ""
    lines: tuple[Line, ...] = ()
    options: tuple[str, ...] = ()
    name: str = ""
    order_type: str = ""
    also: bool = False


WISH = re.compile(
    r"\b(?:(?:can|could|may|might) (?:i|we|you)(?: please| also| just)? (?:get|have|order|make|do|try|take|add|grab)"
    r"|(?:i|we)(?:'d| would| will|'ll|ll|d)?(?: also| just| really| please)? "
    r"(?:like|love|want|need|have|take|try|order|get|go|say)"
    r"|(?:i|we) can (?:get|have|order)|possible to (?:get|have|make)|gimme|give (?:me|us)|let(?:'s| me| us)|get (?:me|us)|order|bring|add|please)\b"
)
QUESTION = re.compile(
    r"\b(?:what|which|whats|how much|how many|how big|do (?:you|u|ya|yall|y'all)(?: guys)?|are there|"
    r"is there|tell me|have you|got any|you (?:guys )?have|i heard)\b"
)
MENU = re.compile(
    r"\b(?:menu|list|show|see what|options|offer|serve|sell|carry|available|selection)\b"
)
INSIDE = re.compile(
    r"\b(?:what'?s in|what is in|what'?s inside|in (?:a|an|the) .*\?|made of|made with|ingredients?|"
    r"contain|comes? with|tell me about|describe|what is (?:a|an|the)|what's (?:a|an|the)|how much is|price of|cost)\b"
)
ADDONS = re.compile(
    r"\b(?:milks?|dairy|sweeteners?|sweetner|syrups?|sauces?|flavou?rs?|add[- ]?ons?|toppings?|extras?|sizes?|sugars?)\b"
)
HELLO = re.compile(r"^\W*(?:hi|hello|hey|good (?:morning|evening|afternoon|day)|how are you)\b")
REMOVE = re.compile(r"\b(?:remove|delete|take (?:off|out)|drop|get rid of|without the|cancel)\b")
STATUS = re.compile(r"\b(?:status|where(?:'s| is) my|is my .*(?:ready|done)|how long)\b")
STAFF = re.compile(
    r"\b(?:staff|waiter|waitress|server|bartender|barkeeper|somebody|someone|human|the bill|the check|manager)\b"
)
RECOMMEND = re.compile(
    r"\b(?:recommend\w*|suggest\w*|surprise me|what's good|whats good|best seller|favou?rite)\b"
)
CART = re.compile(r"\b(?:my (?:cart|order|basket)|the cart|in (?:my|the) (?:cart|basket)|total)\b")
REFER = re.compile(
    r"\b(?:one of (?:those|them|these)|(?:that|the first|the second|the last) one|those|the same)\b"
)
YES = re.compile(
    r"\b(?:yes|yep|yeah|yup|yea|ya|yessir|correct|right|perfect|perfefct|good|great|fine|sure|absolutely|"
    r"indeed|exactly|confirm(?:ed)?|ok|okay|accurate|terrific|all set|got it|did great|does|is it|"
    r"that is it|thats it|that'?ll do|will work|all i need|wanted|asked for|ordered|uh ?huh|go ahead|"
    r"send|looks|all clear|no issues|thank(?:s| you)|place (?:it|the order|my order)|my order|spot[- ]on|"
    r"it is|it sure is|you do|you did|they are|mine|everything|as it should)\b"
)
ASSENT = re.compile(
    r"\bwhat i(?:'d| would)? (?:want|like|need|ordered|wanted|asked|meant)|\byou(?:'ve| have| got)\b|\bthat'?s the one\b|"
    r"\beverything is\b|\b(?:order|it|that|this|all|everything|looks?|sounds?)(?:'s| is| looks| seems)? (?:all )?"
    r"(?:right|correct|perfect|good|great|fine)\b"
)
ASKS = re.compile(
    r"\b(?:what (?:kinds?|types?|sorts?|is|are|do|other)|which|how|do you|can i|could i)\b"
)
NO = re.compile(
    r"^\W*(?:no|nope|nah|not?|wrong|cancel)\b|\b(?:isn't|is not|not (?:right|correct)|incorrect|never ?mind|wrong)\b"
)
ENOUGH = re.compile(
    r"\b(?:that'?s (?:all|it|everything)|that is all|nothing else|no issues|no changes|all good)\b"
)
CHANGE = re.compile(
    r"\b(?:instead|make (?:it|that|this|them|mine|one)|change|actually|rather|switch|swap|forgot)\b"
)
TO_GO, HERE, DELIVER = (
    re.compile(r"\btogo\b"),
    re.compile(r"\bfor here\b|\beat in\b|\bstay\b"),
    re.compile(r"\bdeliver"),
)
LEAD = re.compile(
    r"^(?:[\s,.!]*(?:hi|hello|hey|there|good|morning|evening|afternoon|please|so|well|um+|and|then|ok|okay|"
    r"actually|no|yes|just|also|today|try|some|an?|the|any|to|your|of|me|about|different|for|kinds?|types?|sorts?|"
    r"have|get|got|serve|sell|offer|carry|make|know|is|are)\b)+"
)
TAIL = re.compile(
    r"\b(?:please|thanks?|thank you|here|today|do you (?:guys )?(?:have|serve|offer|sell|make|carry)|you (?:guys )?"
    r"(?:have|serve|offer|sell|got)|on (?:the|your) menu|in (?:my|the) cart|to my (?:cart|order)|available|right now|are there)\b.*$"
)


@lru_cache(4096)
def understand(text: str, ordered: tuple[str, ...] = (), shown: bool = False) -> Intent:
    """The intent of one sentence.

    `ordered` are the ids of items in the guest's cart that await confirmation; `shown` says that
    the guest has been shown a list that "one of those" can refer to.
    """
    low = re.sub(r"\bwhat'?s up\b", "", text.lower().replace("’", "'")).strip()
    words = " ".join(tokens(text))
    found = lines_of(text)
    question = bool(QUESTION.search(low))
    meant = (
        _agreed(low, found, ordered)
        or _service(low, found, question)
        or _question(low, words, found, question)
        or (_answer(low, found, ordered, question) if ordered else None)
        or _order(low, words, found, ordered, shown)
        or _small_talk(low, ordered)
    )
    return Intent(
        meant.kind,
        meant.topic,
        meant.lines,
        meant.options,
        name_in(text),
        "to go"
        if TO_GO.search(words)
        else "delivery"
        if DELIVER.search(words)
        else "here"
        if HERE.search(low)
        else "",
        meant.also,
    )


def _agreed(low: str, found: tuple[Line, ...], ordered: tuple[str, ...]) -> Intent | None:
    """An outright "that is what I wanted", which holds words that look like a question or a wish."""
    if not ordered or found or not ASSENT.search(low):
        return None
    other = (
        "?" in low or ASKS.search(low) or NO.search(low) or CHANGE.search(low) or options_in(low)
    )
    return None if other else Intent(Kind.CONFIRM)


def _service(low: str, found: tuple[Line, ...], question: bool) -> Intent | None:
    if STAFF.search(low) and not found:
        return Intent(Kind.STAFF, topic=low[:80])
    if STATUS.search(low) and not found:
        return Intent(Kind.STATUS)
    if RECOMMEND.search(low):
        return Intent(Kind.RECOMMEND, topic=_about(low))
    if REMOVE.search(low) and (found or CART.search(low) or " it" in low or "last" in low):
        return Intent(Kind.REMOVE, lines=found)
    if CART.search(low) and (question or "show" in low or "view" in low or "see" in low.split()):
        return Intent(Kind.CART)
    return None


def _question(low: str, words: str, found: tuple[Line, ...], question: bool) -> Intent | None:
    if not question and not ("show" in low or MENU.search(low)):
        return None
    if WISH.search(low) and found and not re.search(r"\b(?:what|which|how much)\b", low):
        return None
    if INSIDE.search(low) and found:
        return Intent(Kind.DETAILS, topic=found[0].item_id, lines=found)
    if ADDONS.search(low) and question and not re.search(r"\bmilks?hakes?\b", low):
        return Intent(Kind.OPTIONS, topic=_option_topic(low))
    topic = _about(low)
    if (
        question
        and re.search(
            r"\b(?:do (?:you|ya|yall|u)|have you|got any|is there|are there|i heard)\b", low
        )
        and not re.search(r"\b(?:what|which|how)\b", low)
    ):
        return Intent(Kind.AVAILABLE, topic=found[0].item_id if found else topic, lines=found)
    on_menu = MENU.search(low) or re.search(r"\bha(?:ve|s)\b|\bgot\b", low) or search(topic)
    if on_menu and (question or "show" in low or "menu" in words):
        general = topic in ("", "menu", "drink", "drinks", "else") or "menu" in topic
        return Intent(Kind.LIST, topic="" if general else topic)
    return None


def _answer(
    low: str, found: tuple[Line, ...], ordered: tuple[str, ...], question: bool
) -> Intent | None:
    """What the sentence says about the order that lies on the counter, or None."""
    options = options_in(low)
    restated = bool(found) and all(
        line.item_id in ordered and not line.quantity > 1 for line in found
    )
    wants = bool(WISH.search(low)) or bool(CHANGE.search(low))
    if ENOUGH.search(low) and not options and not found:
        return Intent(Kind.CONFIRM)
    if found and not restated:
        return Intent(Kind.CHANGE, lines=found) if "instead" in low else None
    if restated:
        if CHANGE.search(low) or (NO.search(low) and found[0].options):
            return Intent(Kind.CHANGE, options=found[0].options, topic=found[0].notes)
        return Intent(Kind.CONFIRM) if YES.search(low) else None
    if options and (wants or NO.search(low) or not YES.search(low) or "add" in low):
        return Intent(Kind.CHANGE, options=options)
    if NO.search(low) and not re.search(r"\b(?:no|not a) (?:problem|issue|worries)\b", low):
        return Intent(Kind.DECLINE)
    if YES.search(low) and not question:
        return Intent(Kind.CONFIRM)
    return None


def _order(
    low: str, words: str, found: tuple[Line, ...], ordered: tuple[str, ...], shown: bool
) -> Intent | None:
    if REFER.search(low) and shown and not found:
        return Intent(Kind.REFER, topic="2" if "second" in low else "-1" if "last one" in low else "1",
                      options=options_in(low))  # fmt: skip
    if found:
        return Intent(Kind.ORDER, lines=found, also=bool(ordered))
    if WISH.search(low) and (topic := _about(low)):
        return Intent(Kind.ORDER, topic=topic)
    return None


def _small_talk(low: str, ordered: tuple[str, ...]) -> Intent:
    if HELLO.search(low):
        return Intent(Kind.GREETING)
    if re.search(r"\bthank", low):
        return Intent(Kind.THANKS)
    if YES.search(low) and len(low) < 60 and not low.endswith("?"):
        return Intent(Kind.CONFIRM)
    if NO.search(low):
        return Intent(Kind.DECLINE)
    return Intent(Kind.OTHER)


def _about(low: str) -> str:
    """What a wish or question is about: its words without the polite frame around them."""
    rest = low
    for frame in (
        WISH,
        QUESTION,
        re.compile(r"\b(?:show|see)(?: me| us)?\b"),
        re.compile(r"\b(?:recommend|suggest)\b"),
    ):
        if match := frame.search(rest):
            head, rest = rest[: match.start()], rest[match.end() :]
            rest = rest if LEAD.sub("", rest).strip(" ?.!,") else head
    rest = TAIL.sub("", LEAD.sub("", rest.strip())).strip(" ?.!,")
    rest = LEAD.sub("", rest).strip(" ?.!,")
    return " ".join(tokens(rest)[:6])


def _option_topic(low: str) -> str:
    if "milk" in low or "dairy" in low:
        return "Milk"
    return "Size" if "size" in low else "Sweetener"

"""Who is asking: agent, subject and session of a request, by configured rules.

A rule is one line; the rules of a field are tried in order and the first that finds something
counts:

    header:NAME       a request header
    cookie:NAME       a cookie
    query:NAME        a parameter of the query string
    path:/a/{agent}   one segment of a path that begins like this
    path:REGEX        the one group of a regular expression that matches the path from its start
    body:FIELD.PATH   a string or whole number in a JSON body of at most 64 KiB
    session           for the subject: the session's id
    const:VALUE       always VALUE

Empty values and those of more than 256 characters are not found.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from molt.core.errors import OperatorError
from molt.gateway.json_fields import Fields

BODY_LIMIT: Final = 64 * 1024
LONGEST: Final = 256
_MOST_TARGETS: Final = 1000

_BODY_METHODS: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_SEGMENT: Final = re.compile(r"\{([a-z_]+)\}")


class Asked(Protocol):
    """What identity reads of a request. Header names are lower case."""

    @property
    def method(self) -> bytes: ...

    @property
    def target(self) -> bytes: ...

    @property
    def body(self) -> bytes | None: ...

    @property
    def watched(self) -> Mapping[bytes, bytes | None]:
        """First values of headers noted beforehand."""
        ...

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header."""
        ...


class Who(msgspec.Struct, frozen=True, gc=False):
    """Who is asking, as far as it was found."""

    agent: str | None
    subject: str | None
    session: str | None


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules per field, tried in order."""

    agent: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    session: tuple[str, ...] = ()

    def then(self, others: "Rules") -> "Rules":
        """These rules, and after them those of `others` that are new."""
        return Rules(
            *(
                tuple(dict.fromkeys((*mine, *more)))
                for mine, more in (
                    (self.agent, others.agent),
                    (self.subject, others.subject),
                    (self.session, others.session),
                )
            )
        )


PROFILES: Final[Mapping[str, Rules]] = {
    "agent-chat": Rules(
        agent=("body:agent_type", "header:x-agent-type"),
        subject=("body:context.user_id", "header:x-user-id", "session"),
        session=("body:session_id", "header:x-session-id"),
    ),
    "openai": Rules(
        agent=("path:/agents/{agent}/", "header:x-agent-type"),
        subject=("body:user", "header:x-user-id", "session"),
        session=("header:x-session-id",),
    ),
    "anthropic": Rules(
        agent=("path:/agents/{agent}/", "header:x-agent-type"),
        subject=("body:metadata.user_id", "header:x-user-id", "session"),
        session=("header:x-session-id",),
    ),
}


def profiles(names: Iterable[str]) -> Rules:
    """The rules of several profiles together; `session` as a subject comes last.

    Raises `OperatorError` for an unknown one.
    """
    rules = Rules()
    for name in names:
        if name not in PROFILES:
            raise OperatorError(
                f"identity: no profile {name!r}; there are {', '.join(sorted(PROFILES))}"
            )
        rules = rules.then(PROFILES[name])
    subject = [rule for rule in rules.subject if rule != "session"]
    if len(subject) < len(rules.subject):
        subject.append("session")
    return msgspec.structs.replace(rules, subject=tuple(subject))


Find = Callable[[Asked, Any], str | None]
"""Reads one value from a request and its body's fields (None where there is no JSON body)."""


class Identity:
    """Compiled rules. Raises `OperatorError` for a rule that cannot be understood."""

    def __init__(self, rules: Rules) -> None:
        self._fields = Fields(
            rule.removeprefix("body:")
            for rule in (*rules.agent, *rules.subject, *rules.session)
            if rule.startswith("body:")
        )
        self.headers = frozenset(
            rule.removeprefix("header:").lower().encode()
            for rule in (*rules.agent, *rules.subject, *rules.session)
            if rule.startswith("header:")
        )
        """Names of the request headers that rules look at."""
        named = [r for r in rules.subject if r != "session"]
        self._finders = [
            self._compiled(field, name)
            for field, name in (
                (rules.agent, "agent"),
                (rules.session, "session"),
                (named, "subject"),
            )
        ]
        self._without_body = [
            self._compiled([r for r in field if not _is_body(r)], "")
            for field in (rules.agent, rules.session, named)
        ]
        self._session_as_subject = "session" in rules.subject
        # What stands before a field's first body rule may make the body unnecessary.
        self._first = [
            self._compiled(_before_body(field), "")
            for field in (rules.agent, rules.subject, rules.session)
            if any(rule.startswith("body:") for rule in field)
        ]

    def wants_body(self, request: Asked) -> bool:
        """Whether the body must be held back to know who is asking."""
        if not self._first or request.method not in _BODY_METHODS:
            return False
        if b"json" not in (request.header(b"content-type") or b"").lower():
            return False
        return any(all(find(request, None) is None for find in finders) for finders in self._first)

    def who(self, request: Asked) -> Who:
        """Who is asking. A body that is not there, or not JSON, holds nothing."""
        body = request.body
        fields = self._fields.read(body) if body else None
        told = fields is not None and fields != self._fields.none
        agent_rules, session_rules, subject_rules = self._finders if told else self._without_body
        agent = subject = session = None
        for find in agent_rules:
            if (agent := find(request, fields)) is not None:
                break
        for find in session_rules:
            if (session := find(request, fields)) is not None:
                break
        for find in subject_rules:
            if (subject := find(request, fields)) is not None:
                break
        if subject is None and self._session_as_subject:
            subject = session
        return Who(agent, subject, session)

    def _compiled(self, rules: Sequence[str], field: str) -> tuple[Find, ...]:
        """One finder a rule; body rules that follow each other make one together."""
        finders: list[Find] = []
        for is_body, group in groupby(rules, _is_body):
            if is_body:
                finders.append(_body([self._fields.getter(rule[5:]) for rule in group]))
            else:
                finders += [_finder(rule, field) for rule in group]
        return tuple(finders)


def check_rule(rule: str) -> None:
    """Raises `OperatorError` for a rule that cannot be understood."""
    if not _is_body(rule):
        _finder(rule, "")


def _finder(rule: str, field: str) -> Find:
    kind, _, text = rule.partition(":")
    make = _FINDERS.get(kind)
    if make is None or not text:
        where = f"identity.{field}: " if field else ""
        raise OperatorError(
            f"{where}cannot understand the rule {rule!r}; expected header:NAME, "
            "cookie:NAME, query:NAME, path:TEMPLATE, path:REGEX, body:FIELD or const:VALUE"
            + (", or session" if field in ("", "subject") else "")
        )
    return make(text)


def _is_body(rule: str) -> bool:
    return rule.startswith("body:") and rule != "body:"


def _before_body(rules: Sequence[str]) -> list[str]:
    first = next(i for i, rule in enumerate(rules) if rule.startswith("body:"))
    return [rule for rule in rules[:first] if rule != "session"]


def _body(getters: Sequence[Callable[[Any], object]]) -> Find:
    def find(_: Asked, fields: Any) -> str | None:
        if fields is None:
            return None
        for get in getters:
            try:
                value = get(fields)
            except AttributeError:  # something on the way there is null
                continue
            if type(value) is str and 0 < len(value) <= LONGEST:
                return value
            if type(value) is int:
                return str(value)
        return None

    return find


def _id(text: str) -> str | None:
    return text if 0 < len(text) <= LONGEST else None


def _text(raw: bytes) -> str | None:
    try:
        return _id(raw.decode().strip())
    except UnicodeDecodeError:
        return _id(raw.decode("latin-1").strip())


def _header(name: str) -> Find:
    key = name.lower().encode()

    def find(request: Asked, _: Any) -> str | None:
        watched = request.watched
        raw = watched[key] if key in watched else request.header(key)
        if raw is None:
            return None
        text = raw.decode().strip() if raw.isascii() else _text(raw)
        return text if text and len(text) <= LONGEST else None

    return find


def _cookie(name: str) -> Find:
    key = name.encode()

    def find(request: Asked, _: Any) -> str | None:
        for part in (request.header(b"cookie") or b"").split(b";"):
            found, equals, value = part.strip().partition(b"=")
            if found == key and equals:
                return _text(value.strip(b'"'))
        return None

    return find


def _query(name: str) -> Find:
    def find(request: Asked, _: Any) -> str | None:
        _, _, query = request.target.partition(b"?")
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True) if query else ()
        return next((_id(value) for key, value in pairs if key == name), None)

    return find


def _path(text: str) -> Find:
    pattern = _template(text) if _SEGMENT.search(text) else text
    try:
        compiled = re.compile(pattern.encode())
    except re.error as error:
        raise OperatorError(f"identity: path:{text} is no regular expression: {error}") from None
    if compiled.groups != 1:
        raise OperatorError(f"identity: path:{text} must hold one group, it has {compiled.groups}")

    def look(target: bytes) -> str | None:
        match = compiled.match(target.partition(b"?")[0])
        return _id(unquote(match[1].decode("latin-1"))) if match and match[1] else None

    known: dict[bytes, str | None] = {}

    def find(request: Asked, _: Any) -> str | None:
        target = request.target
        if target in known:
            return known[target]
        found = look(target)
        if len(target) <= LONGEST:
            if len(known) >= _MOST_TARGETS:
                known.clear()
            known[target] = found
        return found

    return find


def _template(text: str) -> str:
    parts = _SEGMENT.split(text)
    names = len(parts) // 2
    if names != 1:
        raise OperatorError(f"identity: path:{text} must hold one {{name}}, it has {names}")
    end = "" if parts[2] else "(?=/|$)"
    return f"{re.escape(parts[0])}([^/]+){re.escape(parts[2])}{end}"


def _const(value: str) -> Find:
    return lambda _request, _fields: value


_FINDERS: Final[Mapping[str, Callable[[str], Find]]] = {
    "header": _header,
    "cookie": _cookie,
    "query": _query,
    "path": _path,
    "const": _const,
}

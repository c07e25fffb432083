"""What the proxy asks: where a request goes, whether control may answer instead, and what it was.

Whatever is doubtful goes to control. A decision is: who is asking -> which rollout covers the agent
-> is the limit kept -> which arm by the hash -> which arm by the conversation's pin. A request that
no rollout covers is forwarded to control as it came.
"""

import time
from collections.abc import Callable
from typing import Final

import msgspec

from molt.core.assignment import CANDIDATE, CONTROL, Assignment, Reason, assign, pinned
from molt.core.evidence import LIVE, SHADOW
from molt.core.flags import Flags
from molt.gateway.addresses import ClientAddresses
from molt.gateway.fallback import Fallback
from molt.gateway.identity import Identity, Who
from molt.gateway.limits import Limiter
from molt.gateway.own_usage import OwnUsage
from molt.gateway.pairs import OpenPair, Pairs
from molt.gateway.pins import Conversation
from molt.gateway.recorder import Recorder
from molt.gateway.refusals import over_limit
from molt.gateway.routes import Decided, Route, Routes
from molt.gateway.sessions import SessionField, SessionReader
from molt.gateway.settings import UsageFields
from molt.gateway.streams import StreamReader
from molt.link.tokens import Runs, Traces
from molt.wire.exchange import Exchange, Failure, Forward, Plan, header_lines
from molt.wire.exchange import find as find_present
from molt.wire.upstream import Upstream
from molt.wire.usage import Reader, usage_reader

_STRIP_TRACE: Final = frozenset({b"traceparent"})
_STRIP_NOTHING: Final[frozenset[bytes]] = frozenset()
_STALE: Final = Assignment(CONTROL, "stale_flags")
_AUDIT_FAILED: Final = Assignment(CONTROL, "audit_failed")
_TWIN_MODE: Final = header_lines([(b"x-molt-mode", b"twin")])
_ARM_HEADER: Final = (b"x-molt-arm", b": ")


def find(headers: list[bytes], name: bytes) -> bytes | None:
    """The first value of a header; quicker than the proxy's `find` for headers that are rare."""
    return find_present(headers, name) if name in headers else None


class Arms(msgspec.Struct, frozen=True):
    """The two services."""

    control: Upstream
    candidate: Upstream


class Manners(msgspec.Struct, frozen=True):
    """What the gateway writes into requests and reads from answers.

    With `show_arm` the user's answer says in `x-molt-arm` which arm made it. `version_header` is
    where the candidate names its version. `session_field` is a field of JSON answers that names the
    session, where clients do not choose it. `report_url` is where the candidate reports actions.
    `usage` says where answers hold their token counts, where that is in no known dialect.
    """

    show_arm: bool = True
    version_header: str = "x-agent-version"
    session_field: str | None = None
    report_url: str | None = None
    usage: UsageFields | None = None


class MoltEdge:
    """Decides by the flags in force, and counts what became of it."""

    def __init__(
        self,
        arms: Arms,
        *,
        identity: Identity,
        addresses: ClientAddresses,
        runs: Runs,
        recorder: Recorder,
        fallback: Fallback,
        manners: Manners,
        pairs: Pairs | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.flags: Flags | None = None
        self.routes = Routes()
        self.limiter = Limiter()
        self.audit_failed = False
        self._arms = arms
        self._identity = identity
        self._addresses = addresses
        self._runs = runs
        self._traces = Traces()
        self._recorder = recorder
        self._fallback = fallback
        self._pairs = pairs
        self._monotonic = monotonic
        self._wall = wall
        self._fresh_until = float("-inf")
        self._show_arm = manners.show_arm
        self._version_header = manners.version_header.lower().encode()
        self._own_usage = OwnUsage(manners.usage) if manners.usage else None
        self._session = SessionField(manners.session_field) if manners.session_field else None
        report = [(b"x-molt-report", manners.report_url.encode())] if manners.report_url else []
        self._live = header_lines([(b"x-molt-mode", b"live"), *report]) + b"x-molt-run: "
        self._shadow = header_lines([(b"x-molt-mode", b"shadow"), *report]) + b"x-molt-run: "
        self._untouched = Forward(arms.control)
        self.watched = identity.headers | _STRIP_TRACE
        """Names of the request headers that each decision looks at."""

    # --- flags

    @property
    def version(self) -> int:
        """The version of the flags acted on; 0 for none."""
        return self.flags.version if self.flags else 0

    def apply(self, flags: Flags) -> None:
        """Decide by `flags` from now on, and take back what they no longer allow."""
        self.flags = flags
        self.routes.apply(flags)
        self.limiter.clear_at(flags.limiter_epoch)
        self._cancel_withdrawn()

    def heard(self, at: float) -> None:
        """Control was heard at `at`, monotonic seconds: the flags are good for their time to live."""
        if self.flags is not None:
            self._fresh_until = at + self.flags.ttl_seconds

    def sweep(self) -> None:
        """Free forgotten memory, a little at a time."""
        self.limiter.sweep()
        for running in self.routes.running.values():
            running.pins.sweep()

    def in_flight(self) -> int:
        """How many live requests the candidate is working on."""
        return sum(len(running.in_flight) for running in self.routes.running.values())

    def _cancel_withdrawn(self) -> None:
        for running in self.routes.running.values():
            for exchange in list(running.in_flight):
                before: Route = exchange.token.route
                now = self.routes.by_agent.get(before.agent)
                if (now or before).flags.cancel_in_flight and not (now and now.is_live):
                    exchange.cancel()

    # --- the proxy's questions

    def wants_body(self, exchange: Exchange) -> bool:
        """Whether the body tells who is asking."""
        return self._identity.wants_body(exchange)

    def decide(self, exchange: Exchange) -> Plan:
        """Where the request goes."""
        who = self._identity.who(exchange)
        route = self.routes.by_agent.get(who.agent) if who.agent is not None else None
        if route is None:
            reason: Reason = "no_flags" if self.flags is None else "no_rollout"
            exchange.token = Decided(None, CONTROL, reason)
            return self._untouched
        now = self._monotonic()
        if route.limited:
            key = who.subject if who.subject is not None else self._address_of(exchange)
            wait = self.limiter.admit(key, route.limit, now)
            if wait:
                arm = assign(route.flags, route.agent, who.subject).arm
                exchange.token = Decided(
                    route, arm, "limited", subject=who.subject, session=who.session
                )
                return over_limit(route.limit, wait, self._wall())
        return self._assigned(exchange, who, route, now)

    def answered(self, exchange: Exchange, status: int, headers: list[bytes]) -> Reader | None:
        """Read the answer's head; `headers` goes out to the user as it is left here."""
        decided: Decided | None = exchange.token
        if decided is None or decided.route is None:
            return None
        arm = CONTROL if exchange.fell_back else decided.arm
        if arm == CANDIDATE and (version := find(headers, self._version_header)) is not None:
            self._recorder.version_seen(decided.route.rollout, version.decode("latin-1"))
        kind = find(headers, b"content-type")
        encoding = find(headers, b"content-encoding")
        reader = usage_reader(kind, encoding, self._own_usage)
        if kind is not None and kind.startswith(b"text/event-stream"):
            reader = StreamReader(reader, decided)
        elif self._session is not None and self._learns(exchange, decided, kind):
            reader = SessionReader(reader, self._session, self._learner(exchange, decided))
        if decided.pair is not None:
            reader = decided.pair.reader(exchange, decided, reader, kind, encoding)
        if self._show_arm and not exchange.mirror:
            headers += (*_ARM_HEADER, arm.encode(), b"\r\n")
        return reader

    def may_fall_back(
        self, exchange: Exchange, failure: Failure, resume: Callable[[bool], None]
    ) -> None:
        """See `fallback`; the candidate no longer works on this."""
        decided: Decided = exchange.token
        if decided.route is not None:
            decided.route.running.in_flight.discard(exchange)
        self._fallback.ask(exchange.method, decided.run, failure, resume)

    def record(self, exchange: Exchange) -> None:
        """The exchange is over."""
        decided: Decided | None = exchange.token
        if decided is not None and decided.arm == CANDIDATE and decided.route is not None:
            decided.route.running.in_flight.discard(exchange)
        self._recorder.record(exchange)

    # --- deciding

    def _assigned(self, exchange: Exchange, who: Who, route: Route, now: float) -> Plan:
        agent, subject, session, running = route.agent, who.subject, who.session, route.running
        conversation, begins = running.pins.find(agent, session, subject, now)
        chosen = fresh = self._unfit(now) or assign(route.flags, agent, subject)
        if conversation.arm is not None:
            chosen = pinned(route.flags, conversation.arm, agent, fresh)
        conversation.arm = chosen.arm
        parent = exchange.header(b"traceparent")
        traced, trace = self._traces.parent(parent)
        decided = exchange.token = Decided(
            route,
            chosen.arm,
            chosen.reason,
            assigned=fresh.arm,
            bucket=fresh.bucket,
            subject=subject,
            session=session,
            trace=trace,
            begins=begins,
            conversation=conversation,
        )
        strip = _STRIP_NOTHING if parent is None else _STRIP_TRACE
        if chosen.arm == CANDIDATE:
            return self._to_candidate(exchange, decided, route, traced, strip)
        if chosen.mirror:
            return self._mirrored(exchange, decided, route, traced, strip)
        return Forward(self._arms.control, traced, strip=strip)

    def _unfit(self, now: float) -> Assignment | None:
        """Why nobody may go to the agent now: nobody watches it, or nothing is kept on record."""
        if now > self._fresh_until:
            return _STALE
        return _AUDIT_FAILED if self.audit_failed else None

    def _to_candidate(
        self,
        exchange: Exchange,
        decided: Decided,
        route: Route,
        traced: bytes,
        strip: frozenset[bytes],
    ) -> Forward:
        wall = self._wall()
        run = decided.run = self._runs.new_id()
        token = self._runs.token(run, route.claims[LIVE], wall, self._hash_of(decided))
        running = route.running
        running.last_candidate = wall
        running.in_flight.add(exchange)
        return Forward(
            self._arms.candidate,
            b"".join((self._live, token, b"\r\n", traced)),
            self._arms.control,
            traced,
            strip=strip,
        )

    def _mirrored(
        self,
        exchange: Exchange,
        decided: Decided,
        route: Route,
        traced: bytes,
        strip: frozenset[bytes],
    ) -> Forward:
        run = self._runs.new_id()
        subject = self._hash_of(decided)
        token = self._runs.token(run, route.claims[SHADOW], self._wall(), subject)
        pair = decided.pair = self._pairs and self._pairs.begin(exchange, route, run)
        copy = Decided(
            route,
            CANDIDATE,
            "shadow",
            SHADOW,
            bucket=decided.bucket,
            subject=decided.subject,
            session=decided.session,
            run=run,
            trace=decided.trace,
            pair=pair,
        )
        return Forward(
            self._arms.control,
            traced,
            mirror=self._arms.candidate,
            mirror_headers=b"".join((self._shadow, token, b"\r\n", traced)),
            mirror_token=copy,
            also=self._twin(decided, route, pair) if pair and pair.twin else None,
            strip=strip,
        )

    def _twin(self, decided: Decided, route: Route, pair: OpenPair) -> Forward:
        """Control's second copy: it shows how much control differs from itself."""
        traced, trace = self._traces.parent(None)
        twin = Decided(
            route, CONTROL, "twin", SHADOW, subject=decided.subject, trace=trace, pair=pair
        )
        return Forward(
            self._arms.control,
            mirror=self._arms.control,
            mirror_headers=_TWIN_MODE + traced,
            mirror_token=twin,
        )

    def _hash_of(self, decided: Decided) -> str:
        subject = decided.subject
        return "" if subject is None else self._recorder.hash_of(subject, self._monotonic())

    def _address_of(self, exchange: Exchange) -> str:
        """What stands for a subject in the limiter; no subject begins with this character."""
        return "\x1f" + self._addresses.of(exchange.client, exchange.forwarded_for)

    # --- learning sessions from answers

    def _learns(self, exchange: Exchange, decided: Decided, kind: bytes | None) -> bool:
        """Whether this answer's session is news: the first of a conversation, or control's own."""
        if exchange.mirror or kind is None or b"json" not in kind:
            return False
        conversation = decided.conversation
        return exchange.fell_back or (conversation is not None and not conversation.named)

    def _learner(self, exchange: Exchange, decided: Decided) -> Callable[[str], None]:
        def learn(session: str) -> None:
            route, conversation, now = decided.route, decided.conversation, self._monotonic()
            if route is None or conversation is None or session == decided.session:
                return
            if exchange.fell_back:
                # This session began on control; the candidate knows nothing of it.
                conversation.named = True
                conversation = Conversation(now, CONTROL)
            route.running.pins.name(route.agent, session, conversation, now)

        return learn

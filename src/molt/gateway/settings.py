"""Everything a gateway worker is told, as one JSON file; it holds keys, so its mode is 0600."""

import msgspec

from molt.gateway.identity import Rules, profiles


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The listener's certificate chain, PEM; `key` may be in the same file."""

    certificate: str
    key: str | None = None


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An arm: where it is and how long it may take, in seconds.

    A `ca` replaces the system's authorities; `certificate` (with `key`) is shown to the service.
    `answer_timeout` is the wait for the head of an answer, `read_timeout` a silence inside one.
    An idle connection is closed after `idle_timeout`, which must be below the service's own. With
    `own_host` the service gets its own name as Host, else the one that the client asked for.
    """

    url: str
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    own_host: bool = False
    connect_timeout: float = 1.0
    answer_timeout: float = 60.0
    read_timeout: float = 300.0
    idle_timeout: float = 4.0


class Identification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Own rules, tried before those of the profiles; see `identity`."""

    profiles: tuple[str, ...] = ("agent-chat", "openai", "anthropic")
    agent: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    session: tuple[str, ...] = ()
    session_field: str | None = None
    """A field of JSON answers that names the session; `session_id` with profile agent-chat."""

    def rules(self) -> Rules:
        """All rules in order. Raises `OperatorError` for an unknown profile."""
        return Rules(self.agent, self.subject, self.session).then(profiles(self.profiles))

    def answer_field(self) -> str | None:
        """Where answers name the session, if they do."""
        if self.session_field is None and "agent-chat" in self.profiles:
            return "session_id"
        return self.session_field or None


class UsageFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where JSON answers and events hold their counts: dotted paths, such as `meta.tokens.in`."""

    input: str
    output: str
    model: str | None = None


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be expected of the candidate.

    With `reports_actions` it tells control of each action before it acts, so that control may
    answer in its place whenever it failed without having acted. `model` is what it runs on where
    its answers do not say. `usage` is read besides the known dialects, and beats them.
    """

    reports_actions: bool = False
    version_header: str = "x-agent-version"
    model: str | None = None
    usage: UsageFields | None = None


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the user's side, in bytes and seconds; None is no bound.

    `body_held` is how much of a request is kept so that control can be asked after the candidate
    failed, or a shadow copy can be sent. `drain` is how long a stop waits for what is in flight.
    """

    head: int = 32 * 1024
    body: int | None = 32 * 1024 * 1024
    body_held: int = 1024 * 1024
    mirrors: int = 64
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 75.0
    write_timeout: float = 60.0
    drain: float = 10.0


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD for a million tokens."""

    input: float
    output: float


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One worker. `id` is its name towards control and in the audit log, unique and lasting.

    `molt_url` is where the control process listens, `report_url` where the candidate reports its
    actions. Keys are hex: `gateway_key` lets this worker in, `run_key` signs run tokens,
    `subject_key` hides subject ids. `state_dir` keeps the last flags, `audit_dir` the audit log.
    """

    id: str
    molt_url: str
    gateway_key: str
    run_key: str
    subject_key: str
    state_dir: str
    audit_dir: str
    control: Service
    candidate: Service
    host: str = "127.0.0.1"
    port: int = 8080
    tls: Tls | None = None
    identity: Identification = Identification()
    agent: Candidate = Candidate()
    report_url: str | None = None
    bounds: Bounds = Bounds()
    prices: dict[str, Price] = {}
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    show_arm: bool = True
    batch_seconds: float = 0.5
    sync_seconds: float = 5.0
    log_level: str = "info"

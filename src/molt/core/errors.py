"""One root error; its subclasses say who must act."""


class MoltError(Exception):
    """Anything Molt raises on purpose. The message says what was wrong, where, and what to do."""


class OperatorError(MoltError):
    """A person must change something: a config, a flag, a command."""


class UpstreamError(MoltError):
    """A service that Molt depends on did not do its part."""


class InternalError(MoltError):
    """A defect in Molt itself."""


class NotFound(OperatorError):
    """A rollout, an incident, an alert that is asked for by name, and that there is not."""


class Refused(OperatorError):
    """A command that stands against the plan or the present state."""


class IllegalTransition(InternalError):
    """An event that the transition table does not allow in this phase."""


class VersionConflict(MoltError):
    """Somebody else appended first; look again, then decide again."""


class StoreUnavailable(UpstreamError):
    """The store cannot be read or written now; nothing was changed."""

"""The plan as frozen values: phases, steps, gates, triggers, limits, SLOs, procedure.

The field descriptions are the reference documentation; it is generated from here.
"""

from molt.core.playbook.agents import Agent, Tools
from molt.core.playbook.comparison import Comparison
from molt.core.playbook.figures import Cost, LimitsPlan, Slos, Timing
from molt.core.playbook.gates import (
    AnyGate,
    ApprovalGate,
    CostGate,
    ErrorRateGate,
    Gate,
    LatencyGate,
    LatencyStableGate,
    NoCriticalErrorGate,
    NoDegradationGate,
    NoRollbackGate,
    NoViolationGate,
    OnFail,
    ShadowAgreementGate,
    StableGate,
    UnchangedGate,
)
from molt.core.playbook.metrics import CONVERSATIONS_UNIT, CRITICAL_ERROR, REQUESTS_UNIT, Metric
from molt.core.playbook.plan import PhasePlan, Playbook, Step
from molt.core.playbook.triggers import (
    Action,
    AnyTrigger,
    ComplaintsTrigger,
    CostTrigger,
    ErrorRateTrigger,
    LatencyTrigger,
    Trigger,
    ViolationTrigger,
)

__all__ = [
    "CONVERSATIONS_UNIT",
    "CRITICAL_ERROR",
    "REQUESTS_UNIT",
    "Action",
    "Agent",
    "AnyGate",
    "AnyTrigger",
    "ApprovalGate",
    "Comparison",
    "ComplaintsTrigger",
    "Cost",
    "CostGate",
    "CostTrigger",
    "ErrorRateGate",
    "ErrorRateTrigger",
    "Gate",
    "LatencyGate",
    "LatencyStableGate",
    "LatencyTrigger",
    "LimitsPlan",
    "Metric",
    "NoCriticalErrorGate",
    "NoDegradationGate",
    "NoRollbackGate",
    "NoViolationGate",
    "OnFail",
    "PhasePlan",
    "Playbook",
    "ShadowAgreementGate",
    "Slos",
    "StableGate",
    "Step",
    "Timing",
    "Tools",
    "Trigger",
    "UnchangedGate",
    "ViolationTrigger",
]

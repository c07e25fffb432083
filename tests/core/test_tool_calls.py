"""What becomes of a tool call."""

from hypothesis import given
from hypothesis import strategies as st

from molt.core.policy import ToolPolicy
from molt.core.tool_calls import ToolCall, decide_call

GUEST = ToolPolicy(allow=("menu_*", "cart_*"), read_only=("menu_*",), writes=("menu_save",))
NAMES = st.sampled_from(["menu_search", "menu_save", "cart_add", "drop", "other"])
STANDINGS = st.sampled_from(["live", "shadow", "withdrawn", "unknown"])
POLICIES = st.sampled_from([None, GUEST, ToolPolicy(allow=("*",), reads="recorded"), ToolPolicy()])


@given(NAMES, STANDINGS, POLICIES, st.booleans())
def test_only_live_runs_execute_and_in_doubt_nobody(name, standing, policy, hinted):
    call = ToolCall(name, {}, hinted)
    decision = decide_call(
        call, standing=standing, reason=None, policy=policy, all_policies=[policy or GUEST]
    )
    if decision.act == "execute":
        assert standing == "live"
        assert policy is None or policy.permits(name)
    if decision.act == "read":
        assert hinted or name.startswith("menu_")
        assert name != "menu_save" or policy is not GUEST
    if standing == "unknown":
        assert not decision.violation


def test_a_violation_is_one_in_shadow_too():
    for standing in ("live", "shadow"):
        decision = decide_call(ToolCall("drop", {}), standing=standing, reason=None, policy=GUEST)
        assert (decision.act, decision.why, decision.violation) == ("deny", "forbidden", True)


def test_a_call_that_its_tool_would_refuse_is_a_mistake_and_no_violation():
    policy = ToolPolicy(allow=("*",), arguments={"*": ("quantity <= 20",)})
    schema = {"properties": {"quantity": {"type": "integer"}}}
    for arguments, why in (({"quantity": "x"}, "invalid"), ({"quantity": 21}, "forbidden")):
        call = ToolCall("cart_add", arguments, input_schema=schema)
        decision = decide_call(call, standing="live", reason=None, policy=policy)
        assert (decision.act, decision.why) == ("deny", why)
        assert decision.violation is (why == "forbidden")

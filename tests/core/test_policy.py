"""Which tools an agent may call."""

from molt.core.policy import ToolPolicy, forbidden


def test_what_is_on_no_list_is_forbidden():
    assert not ToolPolicy(allow=("menu_*",)).permits("place_order")
    assert ToolPolicy(allow=("menu_*",)).permits("menu_search")
    assert not ToolPolicy().permits("anything")


def test_deny_beats_allow():
    policy = ToolPolicy(allow=("*",), deny=("delete_*",))
    assert policy.permits("menu_search")
    assert not policy.permits("delete_menu")


def test_names_are_matched_with_their_case():
    assert not ToolPolicy(allow=("menu_search",)).permits("Menu_Search")


def test_forbidden_calls_are_named_in_order():
    policies = {"guest": ToolPolicy(allow=("menu_search",))}
    calls = ("drop_tables", "menu_search", "approval_resolve")
    assert forbidden(policies, "guest", calls) == ("drop_tables", "approval_resolve")


def test_an_agent_without_lists_is_not_policed():
    assert forbidden({}, "guest", ("anything",)) == ()


def test_arguments_that_break_a_rule_are_a_violation():
    policy = ToolPolicy(allow=("*",), arguments={"add_*": ("quantity <= 20",)})
    assert policy.objection("add_to_cart", {"quantity": 20}) is None
    assert policy.objection("add_to_cart", {"quantity": 21}) == (
        "add_to_cart: arguments break `quantity <= 20`"
    )
    assert policy.objection("view_cart", {"quantity": 21}) is None


def test_a_forbidden_tool_is_a_violation_whatever_its_arguments():
    assert ToolPolicy(allow=("menu_*",)).objection("drop", {}) == "the policy forbids drop"


def test_what_nobody_calls_read_only_is_a_write():
    assert ToolPolicy(allow=("*",)).effect("menu_search") == "write"
    assert ToolPolicy(read_only=("menu_*",)).effect("menu_search") == "read"


def test_the_operators_word_beats_the_servers_hint():
    policy = ToolPolicy(writes=("menu_drop", "order_*"), read_only=("menu_*", "order_get"))
    assert policy.effect("menu_drop", hinted_read_only=True) == "write"
    assert policy.effect("order_get") == "write"
    assert policy.effect("menu_search") == "read"
    assert policy.effect("unknown", hinted_read_only=True) == "read"

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

"""What the bar understands of what guests say."""

import pytest

from molt.apps.demo.bar.menu import search
from molt.apps.demo.bar.orderlines import Line, lines_of, name_in
from molt.apps.demo.bar.understanding import Kind, understand
from molt.apps.demo.bar.words import tokens


@pytest.mark.parametrize(
    ("said", "lines"),
    [
        ("A mocha", [Line("mocha")]),
        ("two expressos and a croissant please", [Line("espresso", 2), Line("croissant")]),
        ("an iced oat milk latte with caramel", [Line("latte", 1, ("Iced", "Oat Milk", "Caramel Sauce"))]),
        ("a latte with 2% milk and a non fat cortado", [Line("latte", 1, ("2% Milk",)), Line("cortado", 1, ("Non-fat Milk",))]),
        ("two cortados, one with oat milk and the other with almond milk",
         [Line("cortado", 1, ("Oat Milk",)), Line("cortado", 1, ("Almond Milk",))]),
        ("a regular cappuccino and another one decaf", [Line("cappuccino"), Line("cappuccino", 1, ("Decaf",))]),
        ("a cappucino, super foamy", [Line("cappuccino", 1, (), "super foamy")]),
        ("a sugar-free vanilla latte", [Line("latte", 1, ("Sugar Free Vanilla",))]),
        ("do you sell umbrellas", []),
    ],
)  # fmt: skip
def test_items_are_found_with_quantity_options_and_notes(said: str, lines: list[Line]):
    assert list(lines_of(said)) == lines


def test_a_name_belongs_to_the_order_and_not_to_its_notes():
    assert name_in("Can I get a mocha for Jean?") == "Jean"
    assert lines_of("Can I get a mocha for Jean?") == (Line("mocha"),)
    assert understand("a latte for here").name == ""


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Can I get a latte?", Kind.ORDER),
        ("Do you have a latte?", Kind.AVAILABLE),
        ("What's in a latte?", Kind.DETAILS),
        ("What milks do you have?", Kind.OPTIONS),
        ("Show me your beers", Kind.LIST),
        ("Can I see the menu?", Kind.LIST),
        ("What do you recommend?", Kind.RECOMMEND),
        ("Could someone come to my table?", Kind.STAFF),
        ("Who won the cup?", Kind.OTHER),
        ("Hello", Kind.GREETING),
    ],
)
def test_a_first_sentence_is_taken_for_what_it_is(said: str, kind: Kind):
    assert understand(said).kind == kind


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Yes", Kind.CONFIRM),
        ("That is what I'd like", Kind.CONFIRM),
        ("Nope, that's all", Kind.CONFIRM),
        ("You have it right", Kind.CONFIRM),
        ("One mocha, yes", Kind.CONFIRM),
        ("No", Kind.DECLINE),
        ("No, I want decaf", Kind.CHANGE),
        ("Make it a decaf mocha", Kind.CHANGE),
        ("Could you add hazelnut?", Kind.CHANGE),
        ("A latte instead", Kind.CHANGE),
        ("And a latte please", Kind.ORDER),
        ("It is, but what sweeteners do you have?", Kind.OPTIONS),
        ("what kind of tea do you have", Kind.LIST),
        ("Please remove the mocha", Kind.REMOVE),
        ("What's in my cart?", Kind.CART),
    ],
)
def test_the_same_words_mean_something_else_when_an_order_waits(said: str, kind: Kind):
    assert understand(said, ordered=("mocha",)).kind == kind


def test_one_of_those_refers_to_a_list_that_was_shown():
    assert understand("Add one of those to my cart", shown=True).kind == Kind.REFER
    assert understand("Add one of those to my cart").kind != Kind.REFER


def test_misspelt_drinks_are_mended_and_common_words_are_left_alone():
    assert tokens("Cappucinno machiato") == ("cappuccino", "macchiato")
    assert tokens("later that morning") == ("later", "that", "morning")


def test_a_search_wants_every_word_and_ranks_the_exact_name_first():
    assert search("latte")[0].id == "latte"
    assert {item.category for item in search("beer")} == {"beer"}
    assert search("taco salad") == ()
    assert len(search("", 5)) == 5

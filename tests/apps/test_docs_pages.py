"""The generated reference of the configuration says something of everything that one can write."""

from molt.apps.docs import configuration_page

FIELDS = [
    line
    for line in configuration_page().splitlines()
    if line.startswith("| `") and line.count(" | ") == 3
]


def test_every_setting_says_what_it_is_for() -> None:
    assert len(FIELDS) > 60
    assert not [row for row in FIELDS if not row.split(" | ")[1].strip()]


def test_defaults_are_written_as_yaml() -> None:
    assert not [row for row in FIELDS if "(" in row.split(" | ")[-1]]

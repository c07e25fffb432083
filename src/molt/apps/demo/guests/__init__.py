"""Guests of the demo's bar: a traffic generator that plays dialogues and reports what came of them."""

from molt.apps.demo.guests.traffic import Guests

__all__ = ["Guests"]

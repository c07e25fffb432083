"""Molt rolls AI agents out safely: shadow, canary, progressive, and back within a second."""

__version__ = "0.1.0"

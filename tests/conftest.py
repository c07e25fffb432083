"""How property tests look for counterexamples.

A busy machine is no counterexample, so there are no deadlines. Where `CI` is set, the examples are the
same in every run: a red run is the fault of the change. `make explore` looks for new ones.
"""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000, derandomize=False)
settings.load_profile("patient")

"""The simulator: the production controller under a virtual clock, on a generated world."""

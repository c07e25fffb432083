"""The store in memory, for the simulator and for tests; file by file as the one on SQL, whose
contract it keeps. See `store.MemoryStore`."""

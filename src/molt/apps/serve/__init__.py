"""`molt serve`: control and gateway workers as separate, supervised processes."""

"""Processes of the benchmark: upstream, load, the proxies under test."""

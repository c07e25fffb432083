"""The demonstration: a bar with an old order service, an agent, and guests who talk to them."""

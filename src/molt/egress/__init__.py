"""The agent's way out: its models and its tools, limited, watched, and in shadow without effect."""

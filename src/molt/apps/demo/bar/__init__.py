"""The reference bar: an existing order service, an MCP tool server and an agent that uses it."""

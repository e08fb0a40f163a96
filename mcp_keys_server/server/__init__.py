"""The service: MCP tools, endpoints and standard input and output."""

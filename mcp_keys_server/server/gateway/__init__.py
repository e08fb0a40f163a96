"""MCP servers that exist already, behind the endpoints of users."""

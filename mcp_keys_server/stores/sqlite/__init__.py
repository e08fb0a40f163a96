"""The embedded database: one file."""

"""Upstreams that are somewhere else: reached over HTTP, for all users together."""

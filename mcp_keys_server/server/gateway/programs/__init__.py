"""Upstreams that are programs of this machine: for each user a process of their own."""

"""Where keys of other systems are imported from."""

"""A database as a whole: copied, checked and brought up to date."""

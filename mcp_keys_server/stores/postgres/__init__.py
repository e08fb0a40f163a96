"""A database for any number of machines."""

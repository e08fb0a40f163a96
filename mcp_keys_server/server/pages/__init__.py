"""The pages on which people see and manage their keys in a browser."""

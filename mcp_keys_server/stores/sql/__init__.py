"""What the databases have in common: the tables, the SQL that all understand, and what its rows mean."""

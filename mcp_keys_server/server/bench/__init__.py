"""What this machine and database can do, measured without leaving anything in them."""

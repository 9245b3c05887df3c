"""Numbers: rows of a table, each column standardised."""

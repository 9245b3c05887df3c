"""The DuckDB file of a run: schema, writer, reader. Knows DuckDB and nothing of torch."""

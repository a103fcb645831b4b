"""What happened: one event for each request, kept in DuckDB exactly once."""

"""The DuckDB file of a run: schema, writer, reader. Knows DuckDB and nothing of torch."""

from trak_core.store.catalog import RunSummary, list_runs, summarize
from trak_core.store.progress import BuildStatus, read_status
from trak_core.store.run import Run, open_run

__all__ = ["BuildStatus", "Run", "RunSummary", "list_runs", "open_run", "read_status", "summarize"]

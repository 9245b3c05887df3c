"""Scores that other programs made come in, and tables for other programs go out."""

from trak_core.exchange.exporting import EXPORTS, export_table
from trak_core.exchange.importing import IMPORTED, Imported, import_scores
from trak_core.exchange.score_files import LIBRARIES, ORIENTATIONS
from trak_core.exchange.signs import SIGNS

__all__ = ["EXPORTS", "IMPORTED", "LIBRARIES", "ORIENTATIONS", "SIGNS", "Imported", "export_table", "import_scores"]

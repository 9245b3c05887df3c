"""Numbers: rows of a table, each column standardised."""

from trak_core.modalities.numbers.modality import NumberModality, Standardised

__all__ = ["NumberModality", "Standardised"]

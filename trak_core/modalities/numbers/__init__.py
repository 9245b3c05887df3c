"""Numbers: rows of a table, each column standardised."""

from trak_core.modalities.numbers.modality import NumberModality
from trak_core.modalities.numbers.standardised import Standardised

__all__ = ["NumberModality", "Standardised"]

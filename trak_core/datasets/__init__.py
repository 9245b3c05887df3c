"""Readers of people's data; all give one `RawData`. Data of recipes are read as a `Dataset` at once."""

from trak_core.datasets.digits import load_digits
from trak_core.datasets.docstrings import load_docstrings

__all__ = ["load_digits", "load_docstrings"]

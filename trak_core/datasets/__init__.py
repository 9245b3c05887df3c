"""Readers of people's data; all give one `Dataset`."""

from trak_core.datasets.dataset import Dataset, Split
from trak_core.datasets.digits import load_digits

__all__ = ["Dataset", "Split", "load_digits"]

"""Rows of numbers as the inputs of a model, the same for stored and for new rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.modalities.encoding import Encoding

LEAST_DEVIATION = 1e-6
"""Where all train numbers of a column are the same there is nothing to standardise by."""


@dataclass(frozen=True)
class Standardised(Encoding):
    """Each column less its mean, over its standard deviation."""

    kind = "standardised"
    size_names = ("n_numbers",)
    form = "rows come as standardised numbers, float32 [n, n_numbers]"

    mean: tuple[float, ...]  # of each column over the train rows
    deviation: tuple[float, ...]  # standard deviation, likewise

    @classmethod
    def learn(cls, contents: NDArray[np.float32], source: str) -> Standardised:
        """Mean and deviation of the columns."""
        mean, deviation = contents.mean(axis=0, dtype=np.float64), contents.std(axis=0, dtype=np.float64)
        return cls(tuple(mean.tolist()), tuple(np.maximum(deviation, LEAST_DEVIATION).tolist()))

    def inputs(self, contents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised rows: float32 `[n, n_numbers]`."""
        rows = (contents - np.asarray(self.mean)) / np.asarray(self.deviation)
        return np.asarray(rows, dtype=np.float32)

    def metadata(self) -> dict[str, Any]:
        """Mean and deviation."""
        return {"mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_metadata(cls, kept: Mapping[str, Any]) -> Standardised:
        """As in `Encoding`."""
        return cls(tuple(kept["mean"]), tuple(kept["deviation"]))

    def sizes(self) -> dict[str, int]:
        """The number of columns."""
        return {"n_numbers": len(self.mean)}

    def description(self) -> tuple[str, str]:
        """How many numbers a row has."""
        return "rows as the model takes them", f"{len(self.mean):,} numbers, each standardised"

"""Where there are classes and LDS at fixed class counts is not measured: what LDS alone can be trusted for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trak_core.evidence.fixed_counts import why_not_fixed
from trak_core.evidence.lds import TrustLevel, cap_of_lds_alone, side_by_side, trust_level
from trak_core.store.run import Run


@dataclass(frozen=True)
class LdsAlone:
    """The LDS of a method beside that of the strongest simple rule, where class shares may be behind both."""

    lds: float  # of the method, over all test examples; NaN where undefined
    control: str  # title of the negative control with the highest LDS; empty where none is measured
    its: float | None  # LDS of that control
    n_subsets: int  # random halves that LDS is measured on
    too_few: bool  # whether these are too few for so many classes; False where an older version did not measure it

    @property
    def cap(self) -> TrustLevel:
        """The highest trust that an explanation by the method deserves."""
        return cap_of_lds_alone(self.lds, [self.its])

    @property
    def sentence(self) -> str:
        """Why trust is no higher; empty where LDS speaks for no trust in the first place."""
        if not self.lds > 0:
            return ""
        halves = f"{self.n_subsets:,} random halves"
        if self.its is not None and self.cap == "low":
            than = "what is more than class shares"
            unknown = f"{halves} cannot tell {than}" if self.too_few else f"{than} was not measured"
            return f"Trust is low: {self.control} reaches LDS {side_by_side(self.its, self.lds)}; {unknown}."
        unknown = f"cannot be told with {halves}" if self.too_few else "was not measured"
        rule = "" if self.its is None else f" The strongest simple rule, {self.control}, reaches {self.its:.2f}."
        return f"Trust is moderate at most: how much of LDS {self.lds:.2f} is more than class shares {unknown}.{rule}"

    def reason_for(self, ci_low: float | None) -> str:
        """The same for one explanation with this lower end of its LDS; empty where that alone asks for no more."""
        return self.sentence if trust_level(ci_low, cap=self.cap) != trust_level(ci_low) else ""


def lds_alone(run: Run, method: str | None = None) -> LdsAlone | None:
    """What LDS alone says of a method, the run's own one by default.

    None where LDS at fixed class counts is measured, where there are no two classes, where nothing was retrained, and
    for the controls themselves, which beat no control.

    Raises:
        NotInRunError: the run has no such method.
    """
    method, n_classes = run.check_method(method), len(np.unique(run.train_labels))
    if not run.info.has_classes or n_classes < 2:
        return None
    rows = run.rows(
        "SELECT method, title, coalesce(is_control, false), s.lds, s.lds_fixed, n_subsets FROM lds_summary s "
        "JOIN methods USING (method) QUALIFY n_checkpoints = max(n_checkpoints) OVER (PARTITION BY method) "
        "ORDER BY s.lds DESC NULLS LAST, method",
    )
    own = next((row for row in rows if row[0] == method), None)
    if own is None or own[2] or own[4] is not None:
        return None
    control, its = next(((row[1], row[3]) for row in rows if row[2] and row[3] is not None), ("", None))
    lds = math.nan if own[3] is None else own[3]
    return LdsAlone(lds, control, its, own[5], too_few=bool(why_not_fixed(own[5], n_classes)))

"""Whether a method beats the negative controls: rules that know nothing of attribution, measured like any method.

A method that does no better than a control on the same subsets and test examples has shown nothing that the simple rule
does not show as well. Differences are paired: both sides are seen in the same draws of the bootstrap.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from trak_core.evidence.bootstrap import interval
from trak_core.evidence.lds import LdsEvidence, mean_defined

NAN = float("nan")


@dataclass(frozen=True)
class Difference:
    """By how much one LDS is above another, with its 95% interval; NaN where one of them is undefined."""

    mean: float = NAN
    low: float = NAN
    high: float = NAN


@dataclass(frozen=True)
class Comparison:
    """A method beside a control."""

    plain: Difference  # of the LDS
    fixed: Difference  # of the LDS at fixed class counts; NaN where that is not measured


def compare(method: LdsEvidence, control: LdsEvidence) -> Comparison:
    """A method beside a control, both measured on the same subsets and test examples with the same seed."""
    has_fixed = method.fixed is not None and control.fixed is not None
    return Comparison(
        _difference(method, control),
        _difference(method.fixed, control.fixed) if has_fixed else Difference(),  # type: ignore[arg-type]
    )


def _difference(one: LdsEvidence, other: LdsEvidence) -> Difference:
    """Over the test examples for which both are defined."""
    mean = mean_defined((one.per_test - other.per_test)[one.reported])
    means = one.draws.means(one.resampled - other.resampled)
    return Difference(mean, *interval(mean, means, one.widened))


def beats_controls(lower_ends: Iterable[float | None]) -> bool | None:
    """True when a method is above every control: the lower end of each difference is above 0.

    Give the lower ends for LDS at fixed class counts where that is measured, else those for LDS. Controls that are
    undefined, None or NaN, say nothing; None where no control says anything.
    """
    said = [end for end in lower_ends if end is not None and not math.isnan(end)]
    return all(end > 0 for end in said) if said else None

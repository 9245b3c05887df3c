"""One word for how far an explanation can be trusted."""

import math
from typing import Literal

TrustLevel = Literal["high", "moderate", "low", "not measured"]

TRUST_HIGH = 0.5
TRUST_MODERATE = 0.25


def trust_level(ci_low: float | None) -> TrustLevel:
    """The level of trust from the lower end of the 95% interval of the LDS of that very explanation.

    The lower end, not the estimate: with few subsets the LDS is uncertain, and doubt should lower trust. High: even
    the lower end is at least .5, so the order of outcomes is mostly predicted. Moderate: at least .25.
    """
    if ci_low is None or math.isnan(ci_low):
        return "not measured"
    if ci_low >= TRUST_HIGH:
        return "high"
    return "moderate" if ci_low >= TRUST_MODERATE else "low"

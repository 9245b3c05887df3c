"""The trust badge: how well the scores predicted retrained models for this very example."""

import streamlit as st

from trak_core.views.explanation import Trust

TRUST_HELP = (
    "Models were really retrained on random halves of the training data. LDS, from -1 to 1, tells how well the scores "
    "predicted which halves make the model more sure of this example: 1 is a perfect order, 0 is chance. High: even "
    "the lower end of its 95% interval is at least .5; moderate: at least .25."
)
_LOOKS = {
    "high": ("green", ":material/verified:"),
    "moderate": ("yellow", ":material/balance:"),
    "low": ("red", ":material/warning:"),
    "not measured": ("gray", ":material/help:"),
}


def trust_badge(trust: Trust, will_be_measured: bool) -> None:
    """The level in words and colour, and the numbers behind it.

    Args:
        trust: of the explanation.
        will_be_measured: True while a build is still measuring.
    """
    colour, icon = _LOOKS[trust.level]
    st.badge(f"trust: {trust.level}", color=colour, icon=icon, help=TRUST_HELP)  # type: ignore[arg-type]
    if trust.lds is None or trust.ci_low is None or trust.ci_high is None:
        st.caption("Evidence joins soon." if will_be_measured else "Nothing was retrained to check this.")
        return
    ceiling = f" of at most {trust.noise_ceiling:.2f}" if trust.noise_ceiling else ""
    st.caption(f"LDS {trust.lds:.2f}{ceiling} (95% interval {trust.ci_low:.2f} to {trust.ci_high:.2f})")

"""The cards of an explanation: the test example, the two sides, and one training example up close."""

from collections.abc import Callable, Collection, Sequence

import streamlit as st

from pages.components.address import go_to_train
from pages.components.gallery import GalleryItem, caption_of, gallery, labelled, named
from pages.components.learnt import learnt_badge
from pages.components.media import show_media
from pages.components.pages import EVIDENCE, link_to
from pages.components.picks import toggle_pick
from pages.components.runs import is_busy
from pages.components.text import lds_in_words, plain
from pages.components.view import Card, Cards, note
from trak_core.media import Picture
from trak_core.store.ranking import Side
from trak_core.store.run import Run
from trak_core.views.compare import SideBySide
from trak_core.views.examples import Example, ScoredExample
from trak_core.views.explanation import Explanation, train_role
from trak_core.views.no_trust import NoTrust, why_not_measured
from trak_core.views.training_items import TrainingItem

_SIDES: dict[Side, tuple[str, str, str]] = {
    "proponent": (":blue[▲ **Proponents**]", "spoke for it", "highest scores: having them in the training set raises"),
    "opponent": (
        ":orange[▼ **Opponents**]",
        "spoke against it",
        "lowest scores: having them in the training set lowers",
    ),
}
"""How the sides are shown: name, what they did, and what their scores mean."""
TRUST_HELP = (
    "Models were really retrained on random halves of the training data. LDS, from -1 to 1, tells how well the scores "
    "predicted which halves make the model more sure of this example: 1 is a perfect order, 0 is chance. High: even "
    "the lower end of its 95% interval is at least .5; moderate: at least .25. Trust goes by the lower of LDS and LDS "
    "at fixed class counts. Where halves are too few for the latter, trust is moderate at most, and low where a simple "
    "rule reaches half of the LDS. It is low where the model cannot see the example."
)
FIXED_HELP = (
    "Halves differ in how many examples of each class they have, and scores that only follow these counts get a high "
    "LDS for nothing. Here the counts are regressed out of both sides first."
)
_LOOKS = {
    "high": ("green", ":material/verified:"),
    "moderate": ("yellow", ":material/balance:"),
    "low": ("red", ":material/warning:"),
    "not measured": ("gray", ":material/help:"),
}


def trust_badge(run: Run, explanation: Explanation, with_controls: bool = True) -> None:
    """The level in words and colour, and the numbers behind it, or why there are none and how to get them.

    Leave out `with_controls` what simple rules reach only where the page says that in another place.
    """
    trust = explanation.trust
    colour, icon = _LOOKS[trust.level]
    st.badge(f"trust: {trust.level}", color=colour, icon=icon, help=TRUST_HELP)  # type: ignore[arg-type]
    for sentence in trust.sentences if with_controls else [trust.reason]:
        if sentence:
            st.caption(plain(sentence))
    if (missing := why_not_measured(run, explanation, is_busy(run))) is not None:
        show_no_trust(run, missing)
    if trust.lds is None or trust.ci_low is None or trust.ci_high is None:
        return
    st.caption(lds_in_words(trust.lds, trust.noise_ceiling, trust.ci_low, trust.ci_high))
    if trust.lds_fixed is not None:
        fixed = lds_in_words(trust.lds_fixed, trust.fixed_ceiling, trust.fixed_low, trust.fixed_high)
        st.caption(f"At fixed class counts: {fixed}", help=FIXED_HELP)
    elif trust.why_not_fixed:
        st.caption(plain(trust.why_not_fixed), help=FIXED_HELP)


def show_no_trust(run: Run, missing: NoTrust) -> None:
    """Why trust is not measured, and the way to where it can be."""
    st.caption(plain(missing.sentence))
    if missing.can_go_on:
        link_to(EVIDENCE, "Measure trust", "science", run=run.info.name)


def _show_card(
    title: str,
    example: Example,
    lines: Sequence[str],
    noted: Sequence[str] = (),
    look: Callable[[], object] | None = None,
) -> None:
    """An example at the head of a page with lines below it; `noted` are those that the page shows in another way.

    `look` shows the example in the place of its media.
    """
    from_where = () if example.origin is None else (example.origin,)
    note(title.lower(), Cards(title, (Card(example.media, (*lines, *noted, *from_where)),)))
    if look is None:
        show_media(example.media, 150, f"{example.split} example {example.idx}")
    else:
        look()
    for line in lines:
        st.text(line)
    show_origin(example)


def show_origin(example: Example) -> None:
    """The file or row that an example came from, small; nothing where the run does not know it."""
    if example.origin is not None:
        st.caption(plain(example.origin))


def test_card(run: Run, explanation: Explanation, look: Callable[[], object] | None = None) -> None:
    """The test example, its label, the model's answer and the trust badge.

    `look` shows the example in the place of its media.
    """
    sure = "" if explanation.confidence is None else f" ({explanation.confidence:.0%})"
    label, answer = ("Label", "Model") if explanation.has_answer else ("Target", "Model output")
    lines = (f"{label}: {explanation.example.label_name}", f"{answer}: {explanation.predicted_name}{sure}")
    with st.container(border=True, height="stretch"):
        trust = f"Trust: {explanation.trust.level}"
        noted = (trust, explanation.trust.reason)
        _show_card("Test example", explanation.example, lines, [each for each in noted if each], look)
        trust_badge(run, explanation, with_controls=False)
        learnt_badge(explanation.quality)


def side_title(side: Side) -> str:
    """The heading of a gallery of one side, as Markdown."""
    name, did, _ = _SIDES[side]
    return f"{name}: {did}"


def side_items(
    shown: Sequence[ScoredExample], side: Side, picked: Collection[int] = (), agreement: SideBySide | None = None
) -> list[GalleryItem]:
    """Train examples of one side for a gallery; those picked, and those that another method names too, are marked."""
    shared: Collection[int] = ()
    contrary: Collection[int] = ()
    if agreement is not None:
        shared = agreement.shared_proponents if side == "proponent" else agreement.shared_opponents
        contrary = agreement.contrary
    return [
        GalleryItem(
            item.example,
            f"{side} {item.rank}: {named(item.example)}, score {item.score:+.3g}"
            f"{'' if item.is_target_class else ', other class'}",
            caption=caption_of(item.example),
            score=f"{item.score:+.3g}",
            side=side,
            other=not item.is_target_class,
            chosen=item.example.idx in picked,
            badge="both" if item.example.idx in shared else "contrary" if item.example.idx in contrary else "",
        )
        for item in shown
    ]


def side_card(
    explanation: Explanation,
    side: Side,
    selected: int | None,
    picked: Collection[int],
    by: str = "",
    agreement: SideBySide | None = None,
) -> None:
    """The gallery of one side of an explanation, which for a second explanation beside it is named by its method.

    Those that are `picked` are marked, and those that the first explanation names too, as far as the two have an
    `agreement`; `selected` is the one that is looked at closely.
    """
    name, _, meaning = _SIDES[side]
    shown = explanation.proponents if side == "proponent" else explanation.opponents
    with st.container(border=True, height="stretch"):
        st.markdown(
            f"{name} by {plain(by)}" if by else side_title(side),
            help=f"Training examples with the {meaning} the model output that is explained. A dotted line marks "
            "another class.",
        )
        gallery(
            f"{side} by {by}" if by else side,
            side_items(shown, side, picked, agreement),
            key=f"{side}s {by}".strip(),
            on_pick=go_to_train,
            selected=selected,
            on_choose=toggle_pick,
            parts=explanation.parts,
        )


def train_card(
    run: Run, explanation: Explanation, train_idx: int | None, marked: Callable[[Example], Example] = lambda one: one
) -> None:
    """One training example, and the part that it plays here and in the run; `marked` gives it marks in its texts."""
    if train_idx is None:
        st.caption("Click a training example to see the part that it plays.")
        return
    about = explanation.example.idx, explanation.target, explanation.method
    role = train_role(run, train_idx, *about, explanation.scores)
    example = marked(role.example)
    looked, words = st.columns([1, 3])
    pictures = [medium for medium in example.media if isinstance(medium, Picture)]
    with looked:
        show_media(pictures, 96, f"train example {train_idx}")
    with words, st.container(gap="xsmall"):
        st.text(f"Train example {train_idx}, {labelled(role.example)}")
        show_origin(role.example)
        spread = "" if role.standard_error is None else f" ± {role.standard_error:.2g} over checkpoints"
        st.text(f"Score here {role.score:+.3g}{spread}, rank {role.rank:,} of {run.info.n_train:,}")
        st.text(f"Among the 20 strongest proponents of {role.n_helped} test examples")
        st.text(f"Among the 20 strongest opponents of {role.n_hurt} test examples")
    show_media([medium for medium in example.media if medium not in pictures], 96, "")


def train_item_card(item: TrainingItem) -> None:
    """The training example, what the models say of it, and how much it counts."""
    lines = [f"{'Label' if item.example.is_labelled else 'Target'}: {item.example.label_name}"]
    if item.guess_name is not None:
        lines.append(f"Model: {item.guess_name}")
    with st.container(border=True, height="stretch"):
        _show_card("Training example", item.example, lines)
        if item.p_label is not None:
            st.caption(f"Probability of its label {item.p_label:.0%}, averaged over checkpoints")
        if item.self_influence is not None:
            st.markdown(
                f"Self-influence {item.self_influence:.3g}, rank {item.self_influence_rank:,} of {item.n_train:,}",
                help="How much the example raises the model output for itself: high for what the model can only learn "
                "by heart, such as odd examples and wrong labels.",
            )
        st.markdown(
            f"In {item.n_helped + item.n_hurt:,} top lists, rank {item.hub_rank:,}",
            help="How many test examples have it among their 20 strongest proponents or opponents, and its place among "
            "all training examples by that number.",
        )

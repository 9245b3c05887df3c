"""Present: the stories of a run one after another, in large type, for showing to others."""

import streamlit as st
from pandas import DataFrame

from pages.components.address import is_number, leave_out, walk_buttons
from pages.components.cards import side_items, trust_badge
from pages.components.export import take_away
from pages.components.gallery import gallery
from pages.components.learnt import learnt_badge, quality_of_run
from pages.components.media import show_media
from pages.components.pages import HOME, link_to
from pages.components.routing import through_app
from pages.components.runs import run_with_scores, stories_of, test_overview
from pages.components.stories import full_screen_button, large, story_link
from pages.components.text import plain
from pages.components.view import Words, note
from trak_core.store.run import Run
from trak_core.views.examples import Example
from trak_core.views.explanation import explain, explanation_table
from trak_core.views.stories import Story
from trak_core.views.training_items import training_item, training_item_table

through_app()

N_SHOWN = 6


def choose_step(n_steps: int) -> int:
    """The step of the address, from 1."""
    asked = st.query_params.get("step")
    if asked is not None and not (is_number(asked) and 1 <= int(asked) <= n_steps):
        leave_out("step", f"There is no step “{plain(asked)}”; there are {n_steps}. This is the first.")
    return int(asked or 1)


def go_to_step(step: int) -> None:
    st.query_params["step"] = str(step)


def controls(step: int, n_steps: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        walk_buttons(step - 1 if step > 1 else None, step + 1 if step < n_steps else None, go_to_step, ("Back", "Next"))
        st.text(f"{step} of {n_steps}")
        full_screen_button()
        link_to(HOME, "Leave", "close", run=run.info.name)


def show_large(example: Example) -> None:
    alt = f"{example.split} example {example.idx}"
    show_media(example.media, 260, alt, lambda text: large(text.text, size="text"))


def tell_test(run: Run, test_idx: int) -> DataFrame:
    explanation = explain(run, test_overview(run), test_idx, k=N_SHOWN)
    left, right = st.columns([1, 2])
    with left:
        show_large(explanation.example)
        sure = "" if explanation.confidence is None else f", {explanation.confidence:.0%} sure"
        answer, label = ("Model", "Label") if explanation.has_answer else ("Model output", "Target")
        large(f"{answer}: {explanation.predicted_name}{sure}", size="text")
        large(f"{label}: {explanation.example.label_name}", size="text")
        trust_badge(run, explanation)
        note("trust", Words(" ".join([f"Trust: {explanation.trust.level}.", *explanation.trust.sentences])))
        learnt_badge(explanation.quality)
    with right:
        st.subheader(":blue[▲ Training examples that spoke for it]", anchor=False)
        gallery("proponent", side_items(explanation.proponents, "proponent"), key="proponents", size=104)
        st.subheader(":orange[▼ Training examples that spoke against it]", anchor=False)
        gallery("opponent", side_items(explanation.opponents, "opponent"), key="opponents", size=104)
    return explanation_table(explanation)


def tell_train(run: Run, train_idx: int) -> DataFrame:
    item = training_item(run, train_idx, k=N_SHOWN)
    left, right = st.columns([1, 2])
    with left:
        show_large(item.example)
        learnt_badge(quality_of_run(run))
    with right:
        large(f"Label: {item.example.label_name}", size="text")
        if item.guess_name is not None:
            large(f"Model: {item.guess_name}", size="text")
        large(
            f"It is among the 20 strongest proponents of {item.n_helped} test examples, and among the 20 strongest "
            f"opponents of {item.n_hurt}.",
            size="text",
        )
    return training_item_table(item)


def tell(run: Run, story: Story) -> DataFrame:
    large(story.title, size="title")
    large(story.text, size="lead")
    note("title", Words(story.title, is_heading=True))
    note("text", Words(story.text))
    if story.test_idx is not None:
        return tell_test(run, story.test_idx)
    return tell_train(run, story.train_idx or 0)


run = run_with_scores()
stories = stories_of(run)
step = choose_step(len(stories))
controls(step, len(stories))
story = stories[step - 1]
told = tell(run, story)
story_link(run, story, label="Look closer")
take_away(f"story_{step}", f"{run.info.title}: {story.title}", lambda: told, run=run.info.name, step=step)

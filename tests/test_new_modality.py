"""The plug-in test: a modality and a task that the program has never heard of go through all of it.

What is defined between the two marks is all that somebody would write: a modality (a picture with a caption and two
numbers), a task (two classes told by one number of the model), a network and data. Nothing of `trak_core` or `pages`
knows any of it.
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest
from torch import Tensor, nn

import trak_core as tc
from pages.components.export import html_page
from pages.components.view import Card, Cards
from trak_core.engine import BuildSettings, MeasureSettings, build_run, measure_run
from trak_core.errors import InvalidSettingError
from trak_core.evidence.verification import verify
from trak_core.live.new_input import explain_new
from trak_core.media import Medium, Picture, Text, first_picture, first_text
from trak_core.modalities import MODALITIES, Modality, RawData, RawSplit, prepare, register_modality
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.image.pixels import Pixels, read_thumbnails, thumbnail
from trak_core.modalities.new_input import Field, NewInput, NewInputReader, Type, Upload
from trak_core.modalities.text.vocabulary import Vocabulary
from trak_core.store.archive import export_run, import_run
from trak_core.subjects import RECIPES, Recipe, Subject
from trak_core.tasks import TASKS, Answer, Task, register_task
from trak_core.training import TrainingSettings
from trak_core.views.examples import read_examples

MOST_LINES = 150
ROOT = Path(__file__).resolve().parents[1]

# --- what somebody writes: from here ---


class CaptionedThing(Encoding):
    """Pixels, weights of words and two numbers, by name."""

    kind = "captioned_thing"

    def __init__(self, pixels: Pixels, words: Vocabulary) -> None:
        self.pixels, self.words = pixels, words

    @classmethod
    def learn(cls, contents: dict[str, Any], source: str) -> "CaptionedThing":
        return cls(Pixels.learn(contents["pixels"], source), Vocabulary.learn(contents["captions"], source))

    def inputs(self, contents: dict[str, Any]) -> dict[str, NDArray[Any]]:
        return {
            "pixels": self.pixels.inputs(contents["pixels"]),
            "words": self.words.inputs(contents["captions"]),
            "sizes": np.asarray(contents["sizes"], dtype=np.float32),
        }

    def metadata(self) -> dict[str, Any]:
        return {"pixels": self.pixels.metadata(), "words": self.words.metadata()}

    @classmethod
    def from_metadata(cls, kept: Mapping[str, Any]) -> "CaptionedThing":
        return cls(Pixels.from_metadata(kept["pixels"]), Vocabulary.from_metadata(kept["words"]))


class NewThing(NewInputReader):
    """An uploaded picture, a typed caption and two typed numbers."""

    invitation = "Upload a picture, type its caption and its sizes"
    fields = (
        Field("picture", (Upload("Picture", types=("png",)),)),
        Field("caption", (Type("Caption"),)),
        Field("sizes", (Type("Sizes", example="1.0 2.0", is_long=False),)),
    )

    def __init__(self, encoding: CaptionedThing) -> None:
        self.encoding = encoding

    def read(self, given: Mapping[str, Any]) -> NewInput:
        media = (Picture(given["picture"]), Text(given["caption"]), Text(given["sizes"], "sizes"))
        return NewInput(Thing().contents([media], self.encoding), media)


class Thing(Modality):
    """Pictures with a caption and two numbers: contents by the names pixels, captions and sizes."""

    name, noun, plural = "thing", "thing", "things"
    encodings = (CaptionedThing,)

    def media(self, contents: dict[str, Any]) -> list[tuple[Medium, ...]]:
        parts = zip(contents["pixels"], contents["captions"], contents["sizes"], strict=True)
        return [
            (Picture(thumbnail(image)), Text(caption), Text(f"{a!r} {b!r}", "sizes"))
            for image, caption, (a, b) in ((image, caption, map(float, sizes)) for image, caption, sizes in parts)
        ]

    def contents(self, media: Sequence[tuple[Medium, ...]], encoding: CaptionedThing) -> dict[str, Any]:
        return {
            "pixels": read_thumbnails([first_picture(one) or b"" for one in media], encoding.pixels),
            "captions": [first_text(one) or "" for one in media],
            "sizes": np.array([[float(size) for size in one[2].text.split()] for one in media]),
        }

    def new_inputs(self, encoding: CaptionedThing) -> NewThing:
        return NewThing(encoding)


class OneLogit(Task):
    """Two classes by one number of the model: f = z for class 1 and -z for class 0."""

    name, modality, has_classes = "one_logit", "thing", True

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        return outputs[..., 0] * (2 * target - 1)

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return torch.sigmoid(-self.model_output(outputs, target))

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return nn.functional.softplus(-self.model_output(outputs, target))

    def answer(self, outputs: Tensor) -> Answer:
        p = torch.sigmoid(outputs)
        return Answer.of_classes(torch.cat([1 - p, p], dim=-1))

    def targets(self, outputs: Tensor, target: Tensor) -> Tensor:
        return torch.arange(2, device=target.device).expand(len(target), 2)

    def target_names(self, class_names: Sequence[str]) -> list[str]:
        return list(class_names)


class ThreeInOne(nn.Module):
    """One hidden layer over all three inputs."""

    def __init__(self, n_words: int) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(36 + n_words + 2, 8), nn.Linear(8, 1)

    def forward(self, pixels: Tensor, words: Tensor, sizes: Tensor) -> Tensor:
        return self.last(nn.functional.gelu(self.hidden(torch.cat([pixels.flatten(1), words, sizes], dim=1))))


def load() -> Subject:
    draw = np.random.default_rng(0)

    def split(n: int) -> RawSplit:
        labels = draw.integers(0, 2, n)
        pixels = draw.integers(0, 200, (n, 6, 6, 1)) + 20 * labels[:, None, None, None]
        captions = [f"a {('round', 'flat')[i % 2]} <b>thing</b> number {i}" for i in range(n)]
        sizes = (draw.normal(size=(n, 2)) + labels[:, None]).round(3)
        return RawSplit({"pixels": pixels.astype(np.uint8), "captions": captions, "sizes": sizes}, labels)

    dataset = prepare(RawData("things", "thing", ("dark", "pale"), split(80), split(24)))
    n_words = dataset.train.inputs["words"].shape[1]
    training = TrainingSettings(epochs=12, batch_size=20, learning_rate=0.1, momentum=0.9, weight_decay=0.02)
    return Subject(dataset=dataset, make_model=lambda: ThreeInOne(n_words), task=OneLogit(), training=training)


THINGS = Recipe("things", "Things", "Pictures with captions and sizes.", load, 5, 16, 60, 3)

# --- to here ---

PAGES = ("home", "explore", "training_item", "map", "evidence", "review", "present", "runs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with the run "things", built and measured; modality and task are registered while it is there."""
    folder = tmp_path_factory.mktemp("things")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAK_RUNS_DIR", str(folder))
        patch.setitem(RECIPES, "things", THINGS)
        register_modality(Thing)
        register_task(OneLogit)
        try:
            build_run(BuildSettings.of(THINGS, 0, "cpu"), "things", folder)
            methods = ("trak", "grad_dot", "influence_ekfac", "magic", "datamodel_ridge", "same_class", "random")
            measure_run(folder / "things", MeasureSettings(methods, 2, (5,), 2, 6, 5))
            yield folder
        finally:
            MODALITIES.pop("thing")
            TASKS.pop("one_logit")


def opened(page: str, **address: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for name, value in address.items():
        app.query_params[name] = value
    app.run()
    return app if page == "home" else app.switch_page(f"pages/{page}.py").run()


def test_modality_and_task_take_few_lines():
    own = Path(__file__).read_text(encoding="utf-8")
    defined = own.partition("from here ---\n")[2].partition("# --- to here ---")[0]
    assert len(defined.strip().splitlines()) <= MOST_LINES


def test_the_run_has_evidence_suspects_and_a_map(runs):
    with tc.open_run(runs / "things") as run:
        assert run.info.modality == "thing" and run.info.has_classes
        board = dict(run.rows("SELECT method, max(lds) FROM lds_summary GROUP BY method"))
        assert board.keys() >= {"trak", "grad_dot", "influence_ekfac", "magic", "datamodel_ridge", "random"}
        assert board["trak"] > 0.3 > 0.15 > abs(board["random"]), board
        assert run.lds("trak").noise_ceiling > 0.5
        for table in ("suspects", "layout", "removals", "targets", "target_scores"):
            assert run.rows(f"SELECT count(*) FROM {table}")[0][0] > 0, table
        assert all(check.ok for check in verify(run)), [check for check in verify(run) if not check.ok]


def test_what_an_example_shows_is_all_there(runs):
    dataset = load().dataset
    with tc.open_run(runs / "things") as run:
        for split in ("train", "test"):
            shown = read_examples(run, split, [0, 7])
            expected = getattr(dataset, split).media
            assert [list(example.media) for example in shown] == [
                [expected[i][0], expected[i][1], Text(expected[i][2].text, "sizes")] for i in (0, 7)
            ]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_the_run(runs, page):
    app = opened(page, run="things", test="3", train="5")
    assert not app.exception and not app.error


def test_a_new_input_is_explained(runs):
    with tc.open_run(runs / "things") as run:
        picture, caption, sizes = read_examples(run, "test", [3])[0].media
        new = explain_new(run, {"picture": picture.content, "caption": caption.text, "sizes": sizes.text})
        stored = run.score_row(3, "trak", run.target_of_class(3, new.answer.predicted))
        assert np.corrcoef(new.answer.scores[new.answer.predicted], stored)[0, 1] > 0.99


def test_a_view_and_a_notebook_show_picture_caption_and_numbers(runs):
    with tc.open_run(runs / "things") as run:
        media = read_examples(run, "test", [3])[0].media
        notebook = tc.show(run, 3)._repr_html_()
    page = html_page("Things", [Cards("things", (Card(media, ("caption",)),))]).decode()
    for shown in (notebook, page):
        assert "data:image/" in shown
        assert html.escape(media[1].text) in shown and media[1].text not in shown
        assert media[2].text in shown


def test_export_and_import_keep_everything(runs, tmp_path):
    copied = import_run(export_run(runs / "things", tmp_path / "things.zip"), tmp_path / "elsewhere")
    with tc.open_run(runs / "things") as run, tc.open_run(copied) as copy:
        assert read_examples(copy, "train", range(80)) == read_examples(run, "train", range(80))
        np.testing.assert_array_equal(copy.scores("trak"), run.scores("trak"))


@pytest.mark.parametrize(
    ("register", "what", "words"),
    [
        (register_modality, Thing, "there is a modality 'thing' already"),
        (register_task, OneLogit, "there is a task 'one_logit' already"),
        (register_modality, type("Half", (Modality,), {"name": "half", "noun": "half", "plural": "halves"}), "lacks"),
        (register_task, type("Part", (Task,), {"name": "part"}), "incomplete: define model_output"),
    ],
)
def test_what_is_registered_twice_or_incomplete_is_refused(runs, register, what, words):
    with pytest.raises(InvalidSettingError, match=words):
        register(what)

"""Own inputs of runs of own data: prepared as the training examples were, and scored as the stored ones."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

import trak_core as tc
from trak_core.datasets.image_folder import read_image_folder
from trak_core.datasets.table import read_table
from trak_core.engine import BuildSettings, build_run
from trak_core.errors import EmptyDataError, InvalidDataError, NeedNotMetError
from trak_core.live.attribution import encode_inputs, live_scorer
from trak_core.live.new_input import explain_new, why_not_live
from trak_core.media import first_picture, first_text
from trak_core.modalities import prepare
from trak_core.modalities.image.new_image import prepare_image
from trak_core.store.run import Run
from trak_core.subjects import custom_recipe
from trak_core.subjects.of_run import read_dataset
from trak_core.views.new_input import answer_sentences

N_IMAGES = 40
SIZES = {"n_checkpoints": 2, "proj_dim": 16, "n_subsets": 20, "n_seeds": 1}
GOOD, BAD = ("lovely", "great", "fine"), ("awful", "poor", "bad")
PLAIN = "the film has a story with people who go to some place and then come back again".split()


def picture(number: int, is_round: bool, in_colour: bool) -> Image.Image:
    """A shape on noise, 30 x 24 pixels; every image differs."""
    random = np.random.default_rng(2 * number + is_round)
    tones = random.integers(0, 90, (24, 30, 3), dtype=np.uint8)
    y, x = np.mgrid[:24, :30]
    radius = 5 + number % 4
    inside = (y - 12) ** 2 + (x - 15) ** 2 < radius**2 if is_round else (abs(y - 12) < radius) & (abs(x - 15) < radius)
    tones[inside] = (230, 40, 60) if is_round else (50, 220, 70)
    return Image.fromarray(tones).convert("RGB" if in_colour else "L")


def write_images(folder: Path, in_colour: bool) -> Path:
    """A folder with a train and a test folder, as PNG, JPEG, turned JPEG, WebP, or a palette."""
    for split, n in (("train", N_IMAGES), ("test", 8)):
        for name, is_round in (("円", True), ("square", False)):
            (folder / split / name).mkdir(parents=True)
            for number in range(n):
                image = picture(number + (100 if split == "test" else 0), is_round, in_colour)
                path = folder / split / name / f"{number}"
                if number % 5 == 0:
                    exif = Image.Exif()
                    exif[274] = 6  # lies on its side
                    image.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), exif=exif)
                elif number % 5 == 1:
                    image.save(path.with_suffix(".jpeg"), quality=70)
                elif number % 5 == 2:
                    image.save(path.with_suffix(".webp"))
                elif number % 5 == 3:
                    image.quantize(32).save(path.with_suffix(".gif"))
                else:
                    image.save(path.with_suffix(".png"))
    return folder


@pytest.fixture(scope="module", params=[(True, 3), (True, 1), (False, None)], ids=["colour", "made grey", "grey"])
def images(request, tmp_path_factory) -> tuple[Path, object]:
    """A folder of images, and the data set that a run of it holds, at 16 pixels."""
    in_colour, channels = request.param
    folder = write_images(tmp_path_factory.mktemp("images") / "shapes", in_colour)
    return folder, prepare(read_image_folder(folder, size=16, channels=channels), "pixels")


def files_of(folder: Path, split: str) -> list[bytes]:
    """The content of the files in the order that they were read in: classes and names in natural order."""
    return [
        path.read_bytes()
        for name in ("square", "円")
        for path in sorted((folder / split / name).iterdir(), key=lambda path: int(path.stem))
    ]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_file_of_an_example_becomes_its_encoded_row_exactly(images, split):
    folder, dataset = images
    stored = getattr(dataset, split)
    contents = files_of(folder, split)
    assert len(contents) == len(stored)
    for content, row, shown in zip(contents, stored.inputs, stored.thumbnails, strict=True):
        prepared = prepare_image(content, dataset.encoding)
        assert (dataset.encoding.inputs(prepared.contents)[0] == row).all()
        assert first_picture(prepared.media) == shown


def test_the_thumbnail_of_an_example_is_the_same_input_again(images):
    _, dataset = images
    prepared = prepare_image(dataset.train.thumbnails[3], dataset.encoding)
    assert (dataset.encoding.inputs(prepared.contents)[0] == dataset.train.inputs[3]).all()
    assert len(prepared.steps) == 1 and prepared.steps[0].startswith("Prepared exactly as the training images: 16 × 16")  # noqa: RUF001


def test_what_was_done_to_an_image_is_said(images):
    _, dataset = images
    buffer = io.BytesIO()
    picture(3, True, True).resize((64, 32)).save(
        buffer, "GIF", save_all=True, append_images=[picture(4, True, True).resize((64, 32))]
    )
    said = " ".join(prepare_image(buffer.getvalue(), dataset.encoding).steps)
    assert "several pictures" in said and "Scaled from 64 × 32 pixels, the edges cut off" in said  # noqa: RUF001
    assert ("Made grey" in said) == (dataset.encoding.n_channels == 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello", "cannot be read"),
        (b"<svg></svg>", "SVG drawing"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "cannot be read|damaged"),
    ],
)
def test_what_is_no_image_gets_a_sentence(images, content, says):
    with pytest.raises(InvalidDataError, match=says):
        prepare_image(content, images[1].encoding)


def test_a_picture_of_20_000_pixels_a_side_is_refused_unopened(images):
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    with pytest.raises(InvalidDataError, match="more than the 20 million pixels"):
        prepare_image(buffer.getvalue(), images[1].encoding)


# --- against stored scores ----------------------------------------------------------------------------------


def built(dataset, kind: str, model: str, folder: Path) -> Path:
    recipe = custom_recipe(kind, dataset, model)
    return build_run(BuildSettings.of(recipe, 0, "cpu", **SIZES), "own", folder, recipe=recipe)


def write_table(path: Path) -> Path:
    random = np.random.default_rng(0)
    lines = ["text,label,split"]
    for number in range(140):
        is_good = number % 2 == 0
        words = [*random.choice(PLAIN, 9), *random.choice(GOOD if is_good else BAD, 2)]
        random.shuffle(words)
        split = "test" if number >= 120 else "train"
        lines.append(f"{' '.join(words).capitalize()}!,{'good' if is_good else 'bad'},{split}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["mlp", pytest.param("cnn", marks=pytest.mark.slow)])
def image_run(request, tmp_path_factory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("image run")
    folder = write_images(directory / "shapes", in_colour=True)
    dataset = prepare(read_image_folder(folder, size=16), "pixels")
    return folder, built(dataset, "image-folder", request.param, directory)


@pytest.fixture(scope="module", params=["words", pytest.param("transformer", marks=pytest.mark.slow)])
def text_run(request, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("text run")
    raw = read_table(write_table(directory / "films.csv"), "text", "label", split="split")
    takes = "vocabulary" if request.param == "words" else "word_ids"
    return built(prepare(raw, takes), "table", request.param, directory)


def assert_follows(run: Run, live: np.ndarray) -> None:
    """As for runs of recipes: with every checkpoint in use and the run's own ridge only rounding differs."""
    stored = run.scores("trak")
    correlations = [spearmanr(one, other)[0] for one, other in zip(live, stored, strict=True)]
    assert np.mean(correlations) > 0.999
    assert np.abs(live - stored).max() < 1e-2 * np.abs(stored).max()


def test_the_files_of_test_images_are_scored_as_they_are_stored(image_run):
    folder, run_dir = image_run
    with tc.open_run(run_dir) as run:
        assert why_not_live(run) is None
        answers = [explain_new(run, {"image": content}) for content in files_of(folder, "test")]
        live = np.stack([own.answer.scores[label] for own, label in zip(answers, run.test_labels, strict=True)])
        right = [own.answer.predicted == label for own, label in zip(answers, run.test_labels, strict=True)]
        factor = live_scorer(run).factor_of_others / live_scorer(run).factor
        # Other classes than the answered one have a unit of their own.
        live[~np.array(right)] /= factor
        assert_follows(run, live)
        said = answer_sentences(run, answers[-1], 1).answer
        assert "“円”" in said


def test_texts_are_encoded_and_scored_as_they_are_stored(text_run):
    with tc.open_run(text_run) as run:
        assert why_not_live(run) is None
        dataset = read_dataset(run)
        scorer = live_scorer(run)
        encoded = encode_inputs(scorer, dataset.test.texts)
        assert encoded.dtype == torch.from_numpy(dataset.test.inputs).dtype
        assert (encoded.numpy() == dataset.test.inputs).all()
        assert_follows(run, run.attribute(dataset.test.texts, run.test_labels))
        by_inputs, by_texts = (
            run.attribute(given, run.test_labels) for given in (dataset.test.inputs, dataset.test.texts)
        )
        assert (by_inputs == by_texts).all()
        own = explain_new(run, {"text": dataset.test.texts[3]})
        assert first_text(own.media) == dataset.test.texts[3] and not own.answer.unlike.has_unknown_words
        foreign = explain_new(run, {"text": "Le chat est assis sur la table, the film parle de la nuit longue"})
        assert foreign.answer.unlike.has_unknown_words
        with pytest.raises(EmptyDataError, match="no text yet"):
            explain_new(run, {"text": "   "})
        with pytest.raises(InvalidDataError, match="none of them is in this text"):
            explain_new(run, {"text": "quelque chose"})
        with pytest.raises(NeedNotMetError, match="takes text, and text is missing"):
            explain_new(run, {"image": b""})


def test_a_model_that_reads_in_order_says_how_far_it_reads(text_run):
    with tc.open_run(text_run) as run:
        own = explain_new(run, {"text": "the film has a story " * 30})
        reads_in_order = run.info.provenance["encoding"]["kind"] == "word_ids"
        assert ("reads the first" in " ".join(own.steps)) == reads_in_order
        assert ("whatever their order" in " ".join(own.steps)) != reads_in_order
        if reads_in_order:
            shape = live_scorer(run).example.shape[1]
            with pytest.raises(InvalidDataError, match="have decimals, and this run takes ids"):
                run.attribute(np.full((1, shape), 0.5))
            for wrong in (-1, 10**6):
                with pytest.raises(InvalidDataError, match="takes ids of words, whole numbers from 0 to"):
                    run.attribute(np.full((1, shape), wrong))


def test_a_run_that_keeps_too_little_says_what_is_missing(image_run, monkeypatch):
    with tc.open_run(image_run[1]) as run:
        without = {**run.info.provenance, "encoding": None}
        monkeypatch.setattr(run, "info", replace(run.info, provenance=without))
        assert why_not_live(run) == (
            "This run does not tell how its images become inputs, so a new image cannot be turned into one."
        )
        with pytest.raises(NeedNotMetError, match="does not tell how its images become inputs"):
            explain_new(run, {"image": b""})
        saved = {**without, "recipe": "python"}
        monkeypatch.setattr(run, "info", replace(run.info, recipe="python", provenance=saved))
        assert "Attributor that made the run" in (why_not_live(run) or "")

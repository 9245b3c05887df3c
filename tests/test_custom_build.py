"""Runs from people's own data: read, reported on, sized to a budget of time, built, and gone on with."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.tiny import TINY
from trak_core.__main__ import cli
from trak_core.datasets import load_digits
from trak_core.datasets.custom_data import CustomData
from trak_core.engine import custom_build
from trak_core.engine.budget import LADDER, BuildPlan, Sizes, read_plan, sizes_within
from trak_core.engine.custom_build import CustomBuild, build_custom_data
from trak_core.engine.pace import DIGITS_PACE, measure_pace
from trak_core.engine.subject import read_build
from trak_core.errors import InvalidDataError, InvalidSettingError, RunMismatchError
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus
from trak_core.store.run import open_run

SMALL = {"n_checkpoints": 2, "n_subsets": 20, "n_seeds": 1}
SIZES = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty digits of three classes, in class folders."""
    folder = tmp_path_factory.mktemp("own") / "Ziffern"
    digits = load_digits().train
    for label, name in enumerate(("null", "一", "deux")):
        (folder / name).mkdir(parents=True)
        for number in np.flatnonzero(digits.labels == label)[:20]:
            pixels = digits.inputs[number].reshape(8, 8)
            grey = np.round(255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8)
            Image.fromarray(grey).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty short texts of two classes, as JSON lines."""
    path = tmp_path_factory.mktemp("own") / "reviews.jsonl"
    draw = np.random.default_rng(0)
    words = {"good": ["fine", "lovely", "warm", "bright"], "bad": ["dull", "awful", "cold", "grim"]}
    rows = [
        {"review": " ".join(draw.choice([*words[label], "film", "scene", "plot"], 6)), "verdict": label}
        for label in ("good", "bad") * 30
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def built(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_custom_data(
        CustomData("image-folder", images), CustomBuild(**SMALL), "own", tmp_path_factory.mktemp("runs")
    )


def run_cli(*words: str) -> "tuple[int, str, str]":
    done = CliRunner().invoke(cli, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


# --- budget -------------------------------------------------------------------------------------------------------


def test_a_budget_pays_for_the_most_evidence_that_fits():
    for at, sizes in enumerate(LADDER):
        seconds = DIGITS_PACE.build(**asdict(sizes))
        minutes = (seconds + 30) / 0.85 / 60
        assert sizes_within(minutes + 1e-6, 30, DIGITS_PACE, {}) == sizes
        if at + 1 < len(LADDER):
            assert sizes_within(minutes - 1e-6, 30, DIGITS_PACE, {}) == LADDER[at + 1]


def test_every_step_of_the_ladder_costs_less_than_the_one_before():
    for pace in (DIGITS_PACE, replace(DIGITS_PACE, half_model=2.0, model=4.0), replace(DIGITS_PACE, scores=20.0)):
        seconds = [pace.build(**asdict(sizes)) for sizes in LADDER]
        assert seconds == sorted(seconds, reverse=True)


def test_a_budget_too_small_for_any_evidence_still_gets_scores():
    slow = replace(DIGITS_PACE, model=120.0, half_model=60.0)
    assert sizes_within(10, 12, slow, {}).n_subsets == 0
    counts = [sizes_within(minutes, 12, slow, {}).n_checkpoints for minutes in (16, 10, 3, 1e-9)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1


def test_sizes_that_are_given_are_kept_and_the_others_make_room():
    free = sizes_within(1, 0, DIGITS_PACE, {})
    given = sizes_within(1, 0, DIGITS_PACE, {"n_checkpoints": 40})
    assert given.n_checkpoints == 40
    assert given.n_subsets * given.n_seeds < free.n_subsets * free.n_seeds


def test_a_plan_is_read_back_for_the_same_command_only(tmp_path):
    files = RunFiles(tmp_path / "run")
    key = {"minutes": 10.0, "model": "mlp"}
    assert read_plan(files, key) is None
    plan = BuildPlan(key, Sizes(3, 40, 2), DIGITS_PACE)
    plan.write(files)
    assert read_plan(files, key) == plan
    assert read_plan(files, {**key, "minutes": 5.0}) is None
    files.plan.write_text('{"key": {', encoding="utf-8")
    assert read_plan(files, key) is None


def test_the_pace_of_a_small_subject_is_positive_and_ordered():
    pace = measure_pace(TINY.load(), "cpu")
    assert all(value > 0 for value in asdict(pace).values())
    assert pace.model == pytest.approx(2 * pace.half_model)


@pytest.mark.parametrize("minutes", [0, -3, float("inf"), float("nan")])
def test_minutes_that_cannot_be_are_refused(minutes):
    with pytest.raises(InvalidSettingError, match="minutes="):
        CustomBuild(minutes=minutes)


# --- where data lie -----------------------------------------------------------------------------------------------


def test_options_of_another_kind_of_data_are_refused(tmp_path):
    with pytest.raises(InvalidSettingError, match="text='review' is no option of image-folder"):
        CustomData("image-folder", tmp_path, text="review")
    with pytest.raises(InvalidSettingError, match="label is missing"):
        CustomData("table", tmp_path / "a.csv", text="review")
    with pytest.raises(InvalidSettingError, match="it must be one of: image-folder"):
        CustomData("folder", tmp_path)  # type: ignore[arg-type]


def test_a_path_where_nothing_is_says_what_to_give(tmp_path):
    with pytest.raises(InvalidDataError, match=r"is not there; give an \.npz file"):
        CustomData("image-arrays", tmp_path / "none").read()


# --- whole builds -------------------------------------------------------------------------------------------------


def test_a_run_of_an_image_folder_tells_what_it_was_made_of(built):
    with open_run(built) as run:
        made = run.info.provenance
        assert made["complete"]
        assert run.info.class_names == ("deux", "null", "一")
        assert (made["recipe"], made["title"], made["model"], made["minutes"]) == (
            *("image-folder", "Ziffern", "mlp"),
            None,  # its sizes were given
        )
        assert made["data_report"]["n_left_out"] == 0
        held_out = "There is no test split; 20% of each class were held out as test examples."
        assert held_out in made["data_report"]["notes"]
        assert str(built.parent.parent) not in json.dumps(made), "where data lay is nobody's business"
        assert run.lds().mean is not None
        settings, subject = read_build(run)
    assert len(subject.dataset.train) == 48
    assert settings.model == "mlp"


def test_the_same_command_finds_the_finished_run(built, images):
    before = (built / "store.duckdb").stat().st_mtime_ns
    again = build_custom_data(CustomData("image-folder", images), CustomBuild(**SMALL), "own", built.parent)
    assert again == built
    assert (built / "store.duckdb").stat().st_mtime_ns == before


def test_other_data_under_the_same_name_are_refused(built, images):
    begun: list[Sizes] = []
    source = CustomData("image-folder", images)
    with pytest.raises(RunMismatchError, match=r"other settings or data \(the data changed \(what is in them, or how"):
        build_custom_data(source, CustomBuild(**SMALL, n_train=30), "own", built.parent, on_sizes=begun.append)
    with pytest.raises(RunMismatchError, match=r"other settings or data \(seed was 0 and is 3 now\)"):
        build_custom_data(source, CustomBuild(**SMALL, seed=3), "own", built.parent, on_sizes=begun.append)
    assert begun == [], "what is to be computed is told once nothing stands against it"


def test_an_unfinished_build_with_other_settings_names_what_differs(images, tmp_path):
    def stop_early(status: BuildStatus) -> None:
        if status.step == "looking for wrong labels":
            raise KeyboardInterrupt

    source = CustomData("image-folder", shutil.copytree(images, tmp_path / "images"))
    with pytest.raises(KeyboardInterrupt):
        build_custom_data(source, CustomBuild(**SMALL), "own", tmp_path, listener=stop_early)
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(next(source.path.rglob("*.png")))
    with pytest.raises(RunMismatchError, match=r"unfinished build .* other settings or data \(the data changed"):
        build_custom_data(source, CustomBuild(**SMALL), "own", tmp_path)


@pytest.mark.slow
def test_a_stopped_build_goes_on_with_the_sizes_it_began_with(images, tmp_path, monkeypatch):
    source, asked = CustomData("image-folder", images), CustomBuild(minutes=0.7)
    monkeypatch.setattr(custom_build, "measure_pace", lambda subject, device, a_step: DIGITS_PACE)
    chosen: list[Sizes] = []

    def stop_at_scores(status: object) -> None:
        if getattr(status, "step", "") == "scoring":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_custom_data(source, asked, "own", tmp_path, on_sizes=chosen.append, listener=stop_at_scores)  # type: ignore[arg-type]

    def slower(subject: object, device: str) -> None:
        raise AssertionError("the pace was measured when the build began")

    monkeypatch.setattr(custom_build, "measure_pace", slower)
    # Asking for something else meanwhile is refused, and does not disturb what was begun.
    with pytest.raises(RunMismatchError, match=r"unfinished build .* other settings"):
        build_custom_data(source, replace(asked, n_checkpoints=7), "own", tmp_path)
    run_dir = build_custom_data(source, asked, "own", tmp_path, on_sizes=chosen.append)
    build_custom_data(source, asked, "own", tmp_path, on_sizes=chosen.append)
    assert chosen[0] == chosen[1]
    assert (chosen[2].n_checkpoints, chosen[2].n_seeds) == (chosen[0].n_checkpoints, chosen[0].n_seeds)
    with open_run(run_dir) as run:
        assert chosen[2].n_subsets == run.info.provenance["n_subsets"]
        assert run.info.provenance["n_checkpoints"] == run.info.n_checkpoints == chosen[0].n_checkpoints


@pytest.mark.slow
def test_build_table_says_what_is_in_the_data_and_then_how_well_it_went(texts, no_runs):
    words = ["table", str(texts), "--text", "review", "--label", "verdict"]
    status, said, _ = run_cli("build", *words, "--name", "films", *SIZES)
    assert status == 0
    assert said.index("48 train and 12 test texts in 2 classes") < said.index("To be computed: 2 checkpoints")
    assert said.index("To be computed") < said.index("Run 'films' is complete")
    assert "LDS of TRAK" in said
    status, checked, _ = run_cli("check", *words)
    assert status == 0
    assert checked.strip() in said
    assert json.loads(run_cli("check", *words, "--json")[1])["n_train"] == 48


@pytest.mark.slow
def test_the_command_of_a_build_builds_the_same_run(texts, tmp_path):
    source = CustomData("table", texts, text="review", label="verdict", test_share=0.3, seed=4)
    asked = CustomBuild(**SMALL, seed=4, n_test=10, flip_labels=0.1)
    statuses: list[list[str]] = []
    run_dir = build_custom_data(
        source, asked, "films", tmp_path, listener=lambda status: statuses.append(status.command)
    )
    status, said, said_wrong = CliRunner(env={"TRAK_RUNS_DIR": str(tmp_path)}).invoke(cli, statuses[0]), "", ""
    assert status.exit_code == 0, (said, said_wrong)
    with open_run(run_dir) as run:
        assert len(run.rows("SELECT 1 FROM examples WHERE split = 'test'")) == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["image-folder", "empty"], "holds no readable image"),
        (["image-folder", "missing"], "missing"),
        (["table", "missing.csv", "--text", "a", "--label", "b"], "missing.csv"),
        (["image-folder", "images", "--model", "words"], "model='words'; for images it must be one of"),
        (["image-folder", "images", "--minutes", "0"], "minutes=0; it must be above 0"),
        (["image-folder", "images", "--n-subsets", "1"], "n_subsets=1; it must be from 20"),
        (["image-folder", "images", "--n-train", "2"], "n_train=2; it must be from 3"),
        (["image-folder", "images", "--name", "a/b"], "a/b"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_no_run(words, message, images, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").symlink_to(images)
    monkeypatch.chdir(tmp_path)
    status, _, said = run_cli("build", *words)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert (status, len(errors)) == (2, 1)
    assert message in errors[0]
    assert not list((tmp_path / "runs").glob("*/store.duckdb"))
    assert run_cli("runs")[1].count("\n") <= 1, "nothing is listed"


@pytest.mark.slow
def test_a_handful_of_images_is_enough_for_a_run(images, tmp_path):
    few = tmp_path / "few"
    for folder in images.iterdir():
        (few / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[:8]:
            (few / folder.name / file.name).write_bytes(file.read_bytes())
    run_dir = build_custom_data(CustomData("image-folder", few), CustomBuild(**SMALL), "few", tmp_path / "runs")
    with open_run(run_dir) as run:
        assert (run.info.n_train, run.info.n_test) == (18, 6), "too few test examples to set some apart"
        assert run.info.provenance["complete"]


def test_what_was_asked_is_recorded_to_the_last_digit():
    asked = CustomBuild(minutes=12.345678901, flip_labels=0.1234567891)
    words = asked.words()
    assert float(words[words.index("--minutes") + 1]) == asked.minutes
    assert float(words[words.index("--flip-labels") + 1]) == asked.flip_labels


def test_a_finished_run_of_other_sizes_is_not_taken_for_this_one(built, images, monkeypatch):
    monkeypatch.setattr(custom_build, "measure_pace", lambda subject, device, a_step: DIGITS_PACE)
    with pytest.raises(RunMismatchError, match="other settings or data"):
        build_custom_data(CustomData("image-folder", images), CustomBuild(minutes=10.0), "own", built.parent)
    assert not RunFiles(built).build.exists(), "what is there stays as it was"

"""Scores of any origin are judged as a run's own methods are, and outcomes from elsewhere make a run that judges."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file
from torch import nn

import trak_core as tc
from tests.oracles import plain_spearman
from tests.tiny import TINY, cut
from trak_core.__main__ import cli
from trak_core.engine import BuildSettings, MeasureSettings, build_run, measure_run
from trak_core.errors import InvalidDataError, InvalidSettingError, NotInRunError, ShapeMismatchError, TrakCoreError
from trak_core.evidence.verification import verify
from trak_core.exchange.score_csv import read_csv
from trak_core.modalities import RawData, RawSplit
from trak_core.store.files import RunFiles
from trak_core.store.run import Run, open_run
from trak_core.store.run_ledger import reported_tests
from trak_core.store.schema import ORDER_BY
from trak_core.subjects import RECIPES, Recipe, Subject
from trak_core.views.browse import overview
from trak_core.views.explanation import explain
from trak_core.views.fit import predicted_against_actual
from trak_core.views.judging import decided_about

N_TRAIN, N_TEST = 90, 12


def thirds() -> Subject:
    """Three classes of digits, so that 32 reporting halves are enough for fixed class counts."""
    tiny = TINY.load()
    parts = [cut(tiny.dataset.train, N_TRAIN), cut(tiny.dataset.test, N_TEST)]
    train, test = (replace(part, labels=part.labels % 3) for part in parts)
    dataset = replace(tiny.dataset, name="thirds", class_names=("a", "b", "c"), train=train, test=test)
    return replace(tiny, dataset=dataset, make_model=lambda: nn.Linear(64, 3))


THIRDS = Recipe("thirds", "Thirds", "Digits by their remainder.", thirds, 2, 4, 40, 2, 2)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, THIRDS.name, THIRDS)
        return build_run(BuildSettings.of(THIRDS, 0, "cpu"), "thirds", tmp_path_factory.mktemp("runs"))


@pytest.fixture
def thirds_run(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    return Path(shutil.copytree(built, tmp_path / "runs" / "thirds"))


@pytest.fixture
def scores(built: Path) -> Iterator[np.ndarray]:
    with open_run(built) as run:
        yield run.scores("trak").copy()


def problems(run_dir: Path) -> list[str]:
    with open_run(run_dir) as run:
        return [check.detail for check in verify(run) if not check.ok]


def others(run_dir: Path) -> dict[str, list[tuple]]:
    """All rows of all tables but those of the scores that were judged."""
    with open_run(run_dir) as run:
        found = {}
        for table in set(ORDER_BY) - {"meta"}:
            names = [name for name, *_ in run.rows(f"DESCRIBE {table}")]
            where = "WHERE method NOT IN ('mine', 'again')" if "method" in names else ""
            found[table] = run.rows(f"SELECT hash(t) FROM {table} t {where} ORDER BY ALL")
        return found


# --- scores of any origin ------------------------------------------------------------------------------------


def test_the_scores_of_a_method_are_judged_as_that_method_is(thirds_run, scores):
    before = others(thirds_run)
    found = tc.evaluate("thirds", scores, "mine")
    with open_run(thirds_run) as run:
        mine, trak = run.lds("mine"), run.lds("trak")
        for field in (
            "mean",
            "ci_low",
            "ci_high",
            "noise_ceiling",
            "fixed",
            "fixed_low",
            "fixed_high",
            "fixed_ceiling",
        ):
            assert getattr(mine, field) == getattr(trak, field) == getattr(found.lds, field)
        np.testing.assert_array_equal(mine.per_test, trak.per_test)
        np.testing.assert_array_equal(mine.fixed_per_test, trak.fixed_per_test)
        pd.testing.assert_frame_equal(run.control_comparisons("mine"), run.control_comparisons("trak"))
        columns = "test_idx, lds, ci_low, trust, lds_fixed, fixed_low, noise_ceiling, fixed_ceiling"
        rows = [run.rows(f"SELECT {columns} FROM lds WHERE method = ? ORDER BY ALL", [m]) for m in ("mine", "trak")]
        assert rows[0] == rows[1]
        np.testing.assert_array_equal(run.scores("mine"), scores)
        assert run.proponents(3, k=5, method="mine").equals(run.proponents(3, k=5, method="trak"))
    assert others(thirds_run) == before
    assert problems(thirds_run) == []
    assert [path.name for path in thirds_run.iterdir() if path.name not in ("checkpoints", "store.duckdb")] == []


def test_the_explorer_offers_them_like_any_other_method(thirds_run, scores):
    tc.evaluate(thirds_run, scores, "mine")
    with open_run(thirds_run) as run:
        assert "mine" in run.info.methods
        mine, trak = (explain(run, overview(run), 3, target=0, method=name) for name in ("mine", "trak"))
        assert mine.trust == trak.trust
        assert run.method_titles["mine"] == "mine"
        assert not run.in_model_units("mine")


WRITTEN: dict[str, Callable[[Path, np.ndarray], object]] = {
    "turned.npy": lambda path, scores: np.save(path, scores.T),
    "scores.npz": lambda path, scores: np.savez(path, scores=scores, other=scores[:1]),
    "scores.safetensors": lambda path, scores: save_file({"scores": scores}, path),
    "plain.csv": lambda path, scores: np.savetxt(path, scores, delimiter=","),
    "spaces.csv": lambda path, scores: np.savetxt(path, scores),
    "frame.csv": lambda path, scores: pd.DataFrame(scores).to_csv(path),
    "no-index.csv": lambda path, scores: pd.DataFrame(scores).to_csv(path, index=False),
    "named.csv": lambda path, scores: (
        pd.DataFrame(scores, [f"t{i}" for i in range(N_TEST)]).add_prefix("x").to_csv(path)
    ),
    "semicolons.csv": lambda path, scores: pd.DataFrame(scores).to_csv(path, sep=";", header=False, index=False),
    "pairs.csv": lambda path, scores: pairs(scores).to_csv(path, index=False),
    "pairs.parquet": lambda path, scores: pairs(scores).to_parquet(path),
}


def pairs(scores: np.ndarray) -> pd.DataFrame:
    test_idx, train_idx = np.indices(scores.shape).reshape(2, -1)
    return pd.DataFrame({"test_idx": test_idx, "train_idx": train_idx, "score": scores.ravel()}).sample(
        frac=1, random_state=0
    )


@pytest.mark.parametrize("name", WRITTEN)
def test_files_of_every_kind_give_the_same_scores(thirds_run, scores, name, tmp_path):
    WRITTEN[name](tmp_path / name, scores)
    tc.evaluate(thirds_run, tmp_path / name, "mine")
    with open_run(thirds_run) as run:
        np.testing.assert_allclose(run.scores("mine"), scores, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [("1,2\n3\n", "2 columns"), ("1,x\n2,3\n4,y\n", "'y'"), ("", "empty line"), ("a,b\n1,two\n", "two")],
)
def test_tables_that_are_no_matrix_are_refused_in_a_sentence(tmp_path, thirds_run, text, words):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(TrakCoreError, match=words) as refused:
        tc.evaluate(thirds_run, tmp_path / "bad.csv", "mine")
    assert "\n" not in str(refused.value)


def test_a_first_row_of_numbers_is_scores_unless_it_counts(tmp_path):
    (tmp_path / "a.csv").write_text("0.5,1,2\n3,4,5\n")
    assert np.asarray(read_csv(tmp_path / "a.csv")).tolist() == [[0.5, 1, 2], [3, 4, 5]]
    (tmp_path / "b.csv").write_text("0,1,2\n3,4,5\n6,7,\n")
    np.testing.assert_array_equal(read_csv(tmp_path / "b.csv"), [[3, 4, 5], [6, 7, np.nan]])


def nan(scores: np.ndarray) -> np.ndarray:
    scores[3, 7] = np.nan
    return scores


REFUSED = {
    "the name of a method of the run": ("trak", lambda scores: scores, InvalidSettingError, "is that of a method"),
    "the name of a method elsewhere": ("magic", lambda scores: scores, InvalidSettingError, "is that of a method"),
    "the title of a method of the run": ("TRAK", lambda scores: scores, InvalidSettingError, "titled 'TRAK'"),
    "the name of a control in other case": ("SAME_class", lambda scores: scores, InvalidSettingError, "'Same class'"),
    "a title elsewhere with other blanks": (
        "gradientDOT",
        lambda scores: scores,
        InvalidSettingError,
        "'Gradient dot'",
    ),
    "no name": (" ", lambda scores: scores, InvalidSettingError, "name=' ' will not do"),
    "too few": (
        "mine",
        lambda scores: scores[:, :-1],
        ShapeMismatchError,
        r"need 12 x 90 \(a row for each test example\) or 90 x 12",
    ),
    "no number": ("mine", nan, InvalidDataError, "nan at row 3, column 7"),
    "nothing but infinity": (
        "mine",
        lambda scores: scores + np.inf,
        InvalidDataError,
        "inf at row 0, .*1,080 such scores in 12 rows",
    ),
    "nothing but zeros": ("mine", lambda scores: 0 * scores, InvalidDataError, "ranks nothing: .* are 0;"),
    "a constant a row": (
        "mine",
        lambda scores: scores[:, :1] + 0 * scores,
        InvalidDataError,
        "ranks nothing: .* are the same;",
    ),
    "the wrong way round": ("mine", lambda scores: -scores, InvalidDataError, "--sign reversed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_judged_is_refused_and_the_run_stays(thirds_run, scores, case):
    name, change, kind, words = REFUSED[case]
    before = RunFiles(thirds_run).store.read_bytes()
    with pytest.raises(kind, match=words) as refused:
        tc.evaluate(thirds_run, change(scores), name)
    assert "\n" not in str(refused.value)
    assert RunFiles(thirds_run).store.read_bytes() == before
    assert not RunFiles(thirds_run).build.exists()


def test_scores_whose_name_differs_only_in_case_from_others_are_refused_and_the_same_name_replaces(thirds_run, scores):
    tc.evaluate(thirds_run, scores, "Mine too")
    with pytest.raises(
        InvalidSettingError, match=r"name='mine  TOO'.*'Mine too', which differs only in case or blanks"
    ):
        tc.evaluate(thirds_run, scores, "mine  TOO", replaces=True)
    tc.evaluate(thirds_run, scores, "Mine too", replaces=True)
    with open_run(thirds_run) as run:
        titles = list(run.method_titles.values())
    assert len(titles) == len({title.lower() for title in titles})


def test_scores_that_hurt_where_they_are_positive_are_turned_round_when_told(thirds_run, scores):
    found = tc.evaluate(thirds_run, -scores, "mine", sign="reversed")
    with open_run(thirds_run) as run:
        assert found.is_reversed and found.lds.mean == run.lds("trak").mean
    kept = tc.evaluate(thirds_run, -scores, "again", sign="as-is")
    assert kept.lds.mean == pytest.approx(-found.lds.mean)
    assert kept.beats_controls is False


def test_rows_that_rank_nothing_count_as_an_lds_of_0(thirds_run, scores, tmp_path):
    flat = scores.copy()
    flat[[1, 4]], flat[7] = 0, np.float32(0.1)
    found = tc.evaluate(thirds_run, flat, "mine")
    assert (found.n_constant, found.n_empty) == (3, 2)
    with open_run(thirds_run) as run:
        mine, trak = run.lds("mine"), run.lds("trak")
        for field in ("per_test", "fixed_per_test"):
            expected = getattr(trak, field).copy()
            expected[[1, 4, 7]] = 0
            np.testing.assert_array_equal(getattr(mine, field), expected)
        assert mine.mean == pytest.approx(mine.per_test[reported_tests(run)].mean()) and mine.mean < trak.mean
        rows = run.rows(
            "SELECT DISTINCT ci_low, ci_high, trust FROM lds WHERE method = 'mine' AND test_idx IN (1, 4, 7)"
        )
        assert rows == [(0, 0, "low")]
        assert predicted_against_actual(run, 7, "mine").line is None
        assert decided_about(run, "mine") == list(found.decided)
    assert problems(thirds_run) == []
    np.save(tmp_path / "flat.npy", flat.T)
    told = CliRunner().invoke(cli, ["evaluate", "thirds", str(tmp_path / "flat.npy"), "--name", "again"])
    assert "The matrix came with a row for each training example (90 x 12), and was turned" in told.output
    assert "3 test examples have the same score for all training examples, 2 of them 0" in told.output


def test_a_name_can_be_used_again_only_to_replace(thirds_run, scores):
    noise = np.random.default_rng(0).normal(size=scores.shape)
    first = tc.evaluate(thirds_run, noise, "mine")
    with pytest.raises(InvalidSettingError, match="--replace"):
        tc.evaluate(thirds_run, scores, "mine")
    second = tc.evaluate(thirds_run, scores, "mine", replaces=True)
    assert second.lds.mean > first.lds.mean + 0.2
    with open_run(thirds_run) as run:
        assert run.rows("SELECT count(*) FROM scores WHERE method = 'mine'") == [(N_TEST,)]
        assert list(run.info.provenance["evaluated"]) == ["mine"]
    assert problems(thirds_run) == []


def test_scores_that_were_judged_stay_when_methods_are_measured(thirds_run, scores, monkeypatch):
    monkeypatch.setitem(RECIPES, THIRDS.name, THIRDS)
    found = tc.evaluate(thirds_run, scores, "mine")
    settings = MeasureSettings(
        ("grad_dot",), n_removal_tests=2, removal_sizes=(5,), n_datamodel_subsets=0, n_truth_subsets=0
    )
    measure_run(thirds_run, settings)
    with open_run(thirds_run) as run:
        assert run.lds("mine").mean == found.lds.mean
        assert set(run.control_comparisons("grad_dot")["control"]) == set(run.control_comparisons("mine")["control"])
    assert problems(thirds_run) == []


def test_a_run_with_unfinished_work_is_left_alone(thirds_run, scores):
    RunFiles(thirds_run).build.mkdir()
    (RunFiles(thirds_run).working_evidence).write_bytes(b"begun")
    with pytest.raises(NotInRunError, match="work on run 'thirds' has not finished"):
        tc.evaluate(thirds_run, scores, "mine")
    assert RunFiles(thirds_run).working_evidence.read_bytes() == b"begun"


def test_the_command_prints_the_board_and_how_the_scores_did(thirds_run, scores, tmp_path):
    np.save(tmp_path / "scores.npy", scores)
    told = CliRunner().invoke(cli, ["evaluate", "thirds", str(tmp_path / "scores.npy"), "--name", "mine"])
    assert told.exit_code == 0, told.output
    with open_run(thirds_run) as run:
        lds = run.lds("mine")
    assert f"'mine': LDS {lds.mean:.3f} ({lds.ci_low:.3f} to {lds.ci_high:.3f})" in told.output
    assert f"At fixed class counts: {lds.fixed:.3f}" in told.output
    assert "the controls." in told.output
    assert "Same class" in told.output
    again = CliRunner().invoke(cli, ["evaluate", "thirds", str(tmp_path / "scores.npy"), "--name", "mine"])
    assert again.exit_code == 2 and "--replace" in again.output
    replaced = CliRunner().invoke(
        cli, ["evaluate", "thirds", str(tmp_path / "scores.npy"), "--name", "mine", "--replace"]
    )
    assert replaced.exit_code == 0


# --- outcomes from elsewhere ---------------------------------------------------------------------------------


TEXTS = [f"{'good' if i % 2 else 'bad'} words number {'x' * (i % 7)}" for i in range(40)]
LABELS = np.arange(40) % 2


@pytest.fixture
def imported(tmp_path, monkeypatch) -> Path:
    """Scores of 30 train and 10 test texts, without any model."""
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    train, test = RawSplit(TEXTS[:30], LABELS[:30]), RawSplit(TEXTS[30:], LABELS[30:])
    raw = RawData("texts", "text", ("no", "yes"), train, test)
    return tc.import_scores(known(), raw, "texts", method="theirs", sign="as-is").path


def known() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(10, 30)).astype(np.float32)


def truth(n_subsets: int = 24, n_seeds: int = 2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    masks = random.random((n_subsets, 30)).argsort(1) < 15
    said = (masks @ known().T)[:, None] + random.normal(size=(n_subsets, n_seeds, 10))
    return masks, said


def test_imported_scores_are_judged_by_outcomes_that_were_measured_elsewhere(imported):
    masks, said = truth()
    found = tc.add_outcomes("texts", masks, said)
    assert (found.n_subsets, found.n_seeds) == (24, 2)
    actual = said.astype(np.float32).astype(float).mean(1)
    with open_run(imported) as run:
        lds = run.lds("theirs")
        expected = [plain_spearman((masks @ known()[i]).tolist(), actual[:, i].tolist()) for i in range(10)]
        assert lds.per_test == pytest.approx(expected, abs=1e-6)
        assert lds.mean == pytest.approx(np.mean(expected))
        assert lds.ci_low <= lds.mean <= lds.ci_high
        assert np.isfinite([lds.noise_ceiling, lds.fixed, lds.fixed_ceiling]).all()
        assert set(run.control_comparisons("theirs")["control"]) == {"same_class", "amount", "lexical_overlap"}
        assert run.scores("amount")[0].tolist() == [len(text) for text in TEXTS[:30]]
        assert run.rows("SELECT DISTINCT role FROM subsets") == [("eval",)]
    assert problems(imported) == []
    again = tc.evaluate("texts", known(), "again", sign="as-is")
    assert again.lds.mean == lds.mean
    assert problems(imported) == []


@pytest.mark.parametrize("packed", [False, True])
def test_outcomes_come_from_files_too(imported, tmp_path, packed):
    masks, said = truth(n_seeds=1)
    np.save(tmp_path / "masks.npy", np.packbits(masks, axis=1) if packed else masks.astype(int))
    np.savez(tmp_path / "outcomes.npz", outcomes=said[:, 0], more=said)
    arguments = ["add-outcomes", "texts", str(tmp_path / "masks.npy"), str(tmp_path / "outcomes.npz")]
    told = CliRunner().invoke(cli, arguments)
    assert told.exit_code == 0, told.output
    assert "theirs" in told.output
    with open_run(imported) as run:
        assert run.lds().n_subsets == 24
        assert np.isnan(run.lds().noise_ceiling)
    again = CliRunner().invoke(cli, arguments)
    assert again.exit_code == 2 and "has retrained models of its own already" in again.output


def missing_one(masks: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    said[5, 1, 2] = np.nan
    return masks, said


BAD_OUTCOMES = {
    "masks of other examples": (lambda m, s: (m[:, :-1], s), ShapeMismatchError, "30 train examples need"),
    "masks of weights": (lambda m, s: (m * 0.5, s), InvalidDataError, "other values than 0 and 1"),
    "outcomes of other tests": (
        lambda m, s: (m, s[..., :-1]),
        ShapeMismatchError,
        r"\[24, 10\], or \[24, n_seeds, 10\]",
    ),
    "outcomes of other subsets": (lambda m, s: (m[:-1], s), ShapeMismatchError, "23 masks"),
    "a model that is missing": (missing_one, InvalidDataError, "subset 5, seed 1, test example 2"),
    "too few subsets": (lambda m, s: (m[:3], s[:3]), InvalidSettingError, "at least 4"),
}


@pytest.mark.parametrize("case", BAD_OUTCOMES)
def test_outcomes_that_do_not_fit_are_refused_and_the_run_stays(imported, case):
    change, kind, words = BAD_OUTCOMES[case]
    before = RunFiles(imported).store.read_bytes()
    with pytest.raises(kind, match=words):
        tc.add_outcomes(imported, *change(*truth()))
    assert RunFiles(imported).store.read_bytes() == before


def test_a_run_without_retrained_models_says_what_gives_it_some(imported):
    with pytest.raises(NotInRunError, match=r"no retrained models.*add-outcomes"):
        tc.evaluate(imported, known(), "mine")


def test_a_run_that_an_attributor_saved_is_judged_by_outcomes_too(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path))
    subject = thirds()
    train, test = ((part.inputs, part.labels) for part in (subject.dataset.train, subject.dataset.test))
    attributor = tc.Attributor(nn.Linear(64, 3), progress=False).fit(train)
    attributor.save(tmp_path / "saved", train, test, ["a", "b", "c"])
    random = np.random.default_rng(2)
    masks = random.random((20, N_TRAIN)) < 0.5
    tc.add_outcomes("saved", masks, random.normal(size=(20, N_TEST)))
    with open_run(tmp_path / "saved") as run:
        assert isinstance(run, Run)
        controls = run.control_comparisons("trak")["control"].tolist()
        assert {"same_class", "grad_norm"} <= set(controls)
        q, norm = (
            run.columns("SELECT q, norm FROM features WHERE split = 'train' ORDER BY idx")[n] for n in ("q", "norm")
        )
        assert run.scores("grad_norm")[0] == pytest.approx(np.abs(q) * norm, rel=1e-5)
    assert problems(tmp_path / "saved") == []

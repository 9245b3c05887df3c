import json
import shutil

import duckdb
import pytest

from tests.pages.conftest import words
from trak_core.engine import MeasureSettings, measure_run
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus, write_status
from trak_core.store.run import open_run
from trak_core.store.writer import build_lock
from trak_core.views.evidence import board, board_table, removal_comparison, truth_table
from trak_core.views.fit import predicted_against_actual


@pytest.fixture
def measured(measured_runs, tmp_path, monkeypatch):
    """A copy of the measured run, in the directory of runs that pages look into."""
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    return shutil.copytree(measured_runs, tmp_path / "runs") / "digits"


def measure_button(app):
    """The button that begins or goes on with measuring, None where there is none."""
    return next((button for button in app.button if button.label in ("Measure every method", "Go on measuring")), None)


def stop(status):
    raise KeyboardInterrupt


def set_meta(run_dir, key, value):
    with duckdb.connect(str(run_dir / "store.duckdb")) as connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, json.dumps(value)])


def test_evidence_shows_lds_interval_ceiling_and_baselines(runs, open_page):
    app = open_page("evidence", test="17")
    assert not app.exception
    with open_run(runs / "digits") as run:
        lds = run.lds()
    said = words(app)
    assert "32 models were retrained on random halves of the training data, 2 on each of 16; 8 more chose" in said
    assert f"LDS {lds.mean:.2f} (best possible {lds.noise_ceiling:.2f}" in said
    assert f"95% interval {lds.ci_low:.2f} to {lds.ci_high:.2f}" in said
    assert app.dataframe[0].value["method"].tolist()[0] == "TRAK"
    controls = {"Same class", "Gradient norm", "Length or ink", "Similarity of inputs"}
    assert set(app.dataframe[0].value["method"]) == {"TRAK", "Embedding similarity", "Random", *controls}
    assert len(app.get("plotly_chart")) == 5
    assert f"LDS {lds.per_test[17]:.2f}" in said


def test_evidence_of_an_undefined_lds_says_so(runs, open_page):
    """Where retrained models say the same whatever they learnt from, nothing can be ranked; no number is NaN."""
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute("UPDATE outcomes SET model_output = 1 WHERE test_idx = 17")
        connection.execute(
            "UPDATE lds SET lds = NULL, ci_low = NULL, ci_high = NULL, trust = 'not measured' WHERE test_idx = 17"
        )
    app = open_page("evidence", test="17")
    assert not app.exception
    assert "LDS undefined: the retrained models say the same for every half." in words(app)
    assert "nan" not in words(app).lower()


def test_scores_that_are_all_the_same_have_an_lds_of_0_and_no_line(runs, open_page):
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute(
            'UPDATE scores SET "values" = list_transform("values", lambda x: 0)::FLOAT[1437] WHERE method = \'random\''
        )
    app = open_page("evidence", method="Random", test="17")
    assert not app.exception
    assert "LDS 0.00 (" in words(app)
    assert "nan" not in words(app).lower()
    with open_run(runs / "digits") as run:
        assert predicted_against_actual(run, 17, "random").line is None


@pytest.fixture
def unmeasured(runs):
    """A run whose build has come as far as its scores."""
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        for table in ("lds", "lds_summary", "target_lds", "outcomes", "target_outcomes"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("DELETE FROM layout; DELETE FROM meta WHERE key IN ('map', 'complete')")
    return runs / "digits"


def test_evidence_before_it_is_there_says_when_it_comes(unmeasured, open_page):
    with build_lock(RunFiles(unmeasured)):
        app = open_page("evidence")
        assert not app.exception
        assert "The evidence is not there yet" in words(app)
        assert "Models are being retrained" in words(app)
        assert "Go on" not in [button.label for button in app.button]
        explore = open_page("explore", test="17")
    assert not explore.exception
    assert "trust: not measured" in words(explore)


@pytest.mark.parametrize("state", ["running", "stopped", "failed"])
def test_no_page_says_that_a_build_runs_which_was_stopped_and_evidence_and_map_go_on_with_it(
    unmeasured, open_page, monkeypatch, state
):
    command = ["build", "digits", "--name", "digits", "--seed", "3"]
    message = "no space left." if state == "failed" else ""
    write_status(
        RunFiles(unmeasured), BuildStatus(state, "retraining on half 7 of 40", 0.42, 60.0, 0.0, message, command, 0.0)
    )
    started = []
    monkeypatch.setattr("trak_core.jobs.Jobs.start_build", lambda jobs, run_dir, command: started.append(command))
    for page in ("evidence", "map"):
        app = open_page(page)
        assert not app.exception
        said = words(app)
        assert ("The build failed" if message else "The build was stopped") in said
        assert "It was 42% done when it ended, at this step: retraining on half 7 of 40." in said
        assert message.capitalize() in said or message in said
        next(button for button in app.button if button.label == "Go on").click().run()
    assert started == [command, command]
    for page in ("evidence", "map", "explore", "training_item", "review", "home", "runs"):
        said = words(open_page(page))
        for false in ("being retrained", "being built", "being trained", "nothing needs to be reloaded", "under way"):
            assert false not in said, page


def test_a_stopped_build_that_tells_no_command_has_no_button_and_says_so(unmeasured, open_page):
    app = open_page("evidence")
    assert "The build was stopped" in words(app)
    assert "build the run again under its name" in words(app)
    assert "Go on" not in [button.label for button in app.button]


def test_a_run_whose_methods_are_not_measured_offers_to_measure_them(runs, open_page, monkeypatch):
    started = []
    monkeypatch.setattr("trak_core.jobs.Jobs.start_build", lambda self, run_dir, command: started.append(command))
    app = open_page("evidence")
    said = "Not measured in this run: what removing the top examples changes and LDS for smaller removals."
    assert words(app).count("Not measured") == words(app).count(said) == 1
    assert measure_button(app).label == "Measure every method"
    measure_button(app).click().run()
    assert not app.exception
    assert started == [["evidence", "digits"]]


@pytest.mark.slow
def test_a_measurement_that_was_stopped_is_gone_on_with_by_its_command(runs, open_page, monkeypatch):
    settings = MeasureSettings(("random",), n_removal_tests=0, n_datamodel_subsets=0, n_truth_subsets=0)
    with pytest.raises(KeyboardInterrupt):
        measure_run(runs / "digits", settings, stop)
    started = []
    monkeypatch.setattr("trak_core.jobs.Jobs.start_build", lambda self, run_dir, command: started.append(command))
    app = open_page("evidence")
    assert measure_button(app).label == "Go on measuring"
    measure_button(app).click().run()
    assert started == [settings.command("digits")]


def test_while_a_run_is_being_measured_there_is_no_button_to_measure_it(runs, open_page):
    with build_lock(RunFiles(runs / "digits")):
        app = open_page("evidence")
    assert not app.exception
    assert measure_button(app) is None


def test_the_measured_run_shows_removal_truths_and_costs(measured, open_page):
    app = open_page("evidence", test="17")
    assert not app.exception
    said = words(app)
    with open_run(measured) as run:
        found, compared, truths = board(run), removal_comparison(run, 10), truth_table(run)
        table = board_table(found)
    assert (
        f"Removing 10 proponents of **{compared.title}** hurts more than removing the 10 nearest neighbours of the "
        f"same class for **{compared.share:.0%}** of 4 test examples (95% interval {compared.ci_low:.0%} to "
        f"{compared.ci_high:.0%})." in said
    )
    assert "of 4 answers flip when up to 10 proponents of TRAK are removed" in said
    assert "Noise ceilings for several seeds: 0." in said
    assert [frame.value["method"].tolist() for frame in app.dataframe] == [
        truths["method"].tolist(),
        table["method"].tolist(),
    ]
    assert list(app.dataframe[0].value.columns) == list(truths.columns)
    assert list(app.dataframe[1].value.columns) == list(table.dropna(axis="columns", how="all").columns)
    assert len(app.get("plotly_chart")) == 6
    assert "Not measured" not in said
    assert "nan" not in said.lower()


def test_methods_that_were_left_out_and_models_that_diverged_are_told(measured, open_page):
    set_meta(measured, "methods_left_out", {"magic": "method 'magic' needs a training log, which this run lacks."})
    set_meta(measured, "n_diverged", {"datamodels: random halves": 3})
    said = words(open_page("evidence"))
    assert "Not measured: magic. method 'magic' needs a training log, which this run lacks." in said
    assert "3 random halves, subsets or removals were skipped, because a model of them diverged." in said


def test_a_run_with_every_method_measured_offers_nothing_to_measure(measured, open_page):
    set_meta(measured, "measured_every_method", True)
    app = open_page("evidence")
    assert not app.exception
    assert measure_button(app) is None


def test_truths_and_removals_of_undefined_or_missing_numbers_show_no_nan(measured, open_page):
    with duckdb.connect(str(measured / "store.duckdb")) as connection:
        connection.execute("UPDATE truth_lds SET lds = NULL, ci_low = NULL, ci_high = NULL WHERE method = 'random'")
        connection.execute("UPDATE removals SET standard_error = NULL, n_seeds = 1")
        connection.execute("DELETE FROM removals WHERE method = 'nearest'")
    app = open_page("evidence", method="Datamodel, ridge")
    assert not app.exception
    assert "nan" not in words(app).lower()
    assert "hurts more than" not in words(app)


def test_the_card_of_a_training_example_tells_how_far_checkpoints_agree(measured, open_page):
    with open_run(measured) as run:
        train_idx, error = run.rows(
            "SELECT train_idx, standard_error FROM topk WHERE method = 'grad_dot' AND test_idx = 17 "
            "AND side = 'proponent' AND rank = 1"
        )[0]
    app = open_page("explore", test="17", method="Gradient dot", train=str(train_idx))
    assert not app.exception
    assert f" ± {error:.2g} over checkpoints" in words(app)

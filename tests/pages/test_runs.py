import fcntl
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from tests.pages.conftest import done_at_once, successes, words
from trak_core.jobs import Jobs, JobStatus
from trak_core.store.archive import export_run, import_run
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus, write_status
from trak_core.store.run import open_run
from trak_core.views.compare import controls_of

COMPARE, BEHIND = "Compare", "Details"
PAGES = ("home", "explore", "evidence", "training_item", "map", "review", "runs")


@pytest.fixture
def started(monkeypatch):
    """Builds that pages start are only written down."""
    found = []
    monkeypatch.setattr(Jobs, "start_build", lambda self, run_dir, command: found.append((run_dir, command)))
    return found


@contextmanager
def being_built(run_dir: Path, state: str = "running", command: tuple[str, ...] = ("build", "digits")):
    """A build of the run under way, in some other process as far as anybody can see."""
    files = RunFiles(run_dir)
    files.build.mkdir(parents=True)
    write_status(files, BuildStatus(state, "scoring", 0.62, 40.0, 0.0, "", list(command), time.time()))
    with files.lock.open("wb") as lock:
        if state == "running":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def press(app, label):
    next(button for button in app.button if button.label == label).click().run()


def test_every_run_is_listed_with_its_state_damaged_ones_too(runs, open_page):
    (runs / "broken").mkdir()
    (runs / "broken" / "store.duckdb").write_bytes(b"not a database")
    app = open_page("runs")
    assert not app.exception
    said = words(app)
    assert "1,437 training examples, 360 test examples" in said and " LDS 0." in said
    assert "ready" in said and "cannot be opened" in said and "is damaged and cannot be read" in said


def test_with_no_run_at_all_a_first_one_can_be_started(no_runs, open_page, started):
    app = open_page("runs")
    assert not app.exception
    started.clear()  # the Home page, where people come in, starts one by itself
    press(app, "Start")
    assert started == [(no_runs / "digits", ["build", "digits", "--name", "digits", "--seed", "0"])]
    assert "There is no run to look at yet" in words(open_page("runs", show=COMPARE))


def test_the_form_starts_the_build_that_it_describes(runs, open_page, started):
    app = open_page("runs")
    app.selectbox(key="recipe").select("docstrings").run()
    assert "2,560 training and 640 test texts" in words(app)
    app.text_input(key="new name").input("mine").run()
    app.number_input(key="new seed").set_value(7).run()
    assert "1 to 2 minutes" in words(app)
    app.toggle(key="new evidence").set_value(True).run()
    assert "30 to 50 minutes" in words(app)
    press(app, "Start")
    assert started == [
        (runs / "mine", ["build", "docstrings", "--name", "mine", "--seed", "7", "--evidence"]),
    ]
    assert app.text_input(key="new name").value == ""


def test_wrong_labels_are_planted_where_the_form_asks_for_them(no_runs, open_page, started):
    app = open_page("runs")
    started.clear()
    assert "new flip kind" not in [select.key for select in app.selectbox], "nothing is planted by default"
    app.number_input(key="new flip percent").set_value(29).run()
    app.selectbox(key="new flip kind").select("confusable").run()
    press(app, "Start")
    command = started[0][1]
    assert command[6:] == ["--flip-labels", "0.29", "--flip-kind", "confusable"]
    app.number_input(key="new flip percent").set_value(0).run()
    press(app, "Start")
    assert started[1][1] == command[:6]


def test_wrong_labels_can_be_asked_for_and_started_in_one_go(no_runs, open_page, started):
    app = open_page("runs")
    started.clear()
    app.number_input(key="new flip percent").set_value(10)  # the field is left by the click on Start
    press(app, "Start")
    assert not app.exception
    assert started[0][1][6:] == ["--flip-labels", "0.1", "--flip-kind", "uniform"]


def test_without_a_name_the_next_free_one_is_taken(runs, open_page, started):
    app = open_page("runs")
    assert app.text_input(key="new name").placeholder == "digits-2"
    press(app, "Start")
    assert started[0][0] == runs / "digits-2"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits", "There is a run “digits” already; give the new one another name."),
        ("../up", "will not do; use up to 100 letters, digits, dots, dashes and underscores"),
        ("a b", "will not do"),
    ],
)
def test_a_name_that_is_taken_or_will_not_do_is_told_and_nothing_starts(runs, open_page, started, name, message):
    app = open_page("runs")
    app.text_input(key="new name").input(name).run()
    press(app, "Start")
    assert message in words(app)
    assert started == []


def test_a_build_of_another_process_shows_progress_and_cannot_be_cancelled_here(runs, open_page):
    with being_built(runs / "digits"):
        app = open_page("runs")
        assert not app.exception
        assert "built by another process" in words(app)
        assert [button for button in app.button if button.label == "Cancel"] == []
        assert not [button for button in app.button if button.label == "Delete for good"]
        progress = app.get("progress")[0].proto
        assert progress.value == 62 and progress.text == "scoring, about 40 s left"


def test_a_build_of_this_server_can_be_cancelled_and_shows_its_log(runs, open_page, monkeypatch):
    stopped = []
    monkeypatch.setattr(Jobs, "is_running", lambda self, run_dir: run_dir.name == "digits")
    monkeypatch.setattr(Jobs, "log", lambda self, run_dir, n: ["12:00:00 0% reading", "12:00:01 5% scoring"])
    monkeypatch.setattr(Jobs, "stop", lambda self, run_dir: stopped.append(run_dir) or True)
    with being_built(runs / "digits"):
        app = open_page("runs")
        assert "12:00:01 5% scoring" in app.code[0].value
        app.button(key="cancel digits").click().run()
        assert stopped == [runs / "digits"]


def test_a_stopped_build_goes_on_by_its_own_command(runs, open_page, started):
    with being_built(runs / "half", "stopped", ("build", "digits", "--name", "half", "--seed", "3")):
        app = open_page("runs")
        assert "stopped" in words(app)
        app.button(key="go on half").click().run()
        assert started == [(runs / "half", ["build", "digits", "--name", "half", "--seed", "3"])]


def test_a_build_that_could_not_begin_is_told_and_can_be_dismissed(runs, open_page, monkeypatch):
    command, forgotten = ["build", "digits", "--name", "mine"], []
    monkeypatch.setattr(Jobs, "started", lambda self, directory: {} if forgotten else {runs / "mine": command})
    failed = JobStatus("failed", message="cannot write there: *no*")
    monkeypatch.setattr(Jobs, "status", lambda self, path: failed if path.name == "mine" else None)
    monkeypatch.setattr(Jobs, "forget", lambda self, path: forgotten.append(path))
    app = open_page("runs")
    assert "cannot write there: *no*" in words(app)
    app.button(key="dismiss mine").click().run()
    assert forgotten == [runs / "mine"]
    assert "cannot write there" not in words(app)


def test_a_build_that_waits_for_others_tells_its_place_and_can_be_cancelled(runs, open_page, monkeypatch):
    command, stopped = ["build", "digits", "--name", "mine"], []
    waiting = {"mine": JobStatus("waiting", n_before=1), "digits": JobStatus("waiting"), "half": JobStatus("waiting")}
    monkeypatch.setattr(Jobs, "started", lambda self, directory: {runs / "mine": command})
    monkeypatch.setattr(Jobs, "status", lambda self, path: waiting.get(path.name))
    monkeypatch.setattr(Jobs, "stop", lambda self, path: stopped.append(path) or True)
    with being_built(runs / "half", "stopped"):
        for page in ("home", "runs"):
            app = open_page(page)
            assert not app.exception
            lines = [one.proto.text for one in app.get("progress")]
            unborn = ["Waiting for its turn, 1 before it."] * (page == "runs")
            assert lines == [*unborn, "Waiting for its turn.", "Waiting for its turn."]
            assert "go on half" not in [button.key for button in app.button], "it goes on when its turn comes"
        assert app.text_input(key="new name").placeholder == "digits-2"
        for name in waiting:
            app.button(key=f"cancel {name}").click().run()
    assert stopped == [runs / name for name in waiting]


def test_a_name_that_waits_to_be_built_is_taken(runs, open_page, monkeypatch):
    monkeypatch.setattr(
        Jobs, "status", lambda self, path: JobStatus("waiting") if path.name in ("mine", "digits-2") else None
    )
    app = open_page("runs")
    assert app.text_input(key="new name").placeholder == "digits-3"
    app.text_input(key="new name").input("mine").run()
    press(app, "Start")
    assert "There is a run “mine” already" in words(app)


def test_a_run_is_deleted_only_when_its_name_is_typed(runs, open_page):
    shutil.copytree(runs / "digits", runs / "other")
    app = open_page("runs")
    app.text_input(key="typed other").input("digits").run()
    app.button(key="delete for good other").click().run()
    assert "Nothing was deleted: the name that was typed is not “other”." in words(app)
    assert (runs / "other" / "store.duckdb").exists()
    app.text_input(key="typed other").input("other").run()
    app.button(key="delete for good other").click().run()
    assert "“other” was deleted." in words(app)
    assert [path.name for path in runs.iterdir()] == ["digits"]


def test_a_run_that_began_to_be_built_meanwhile_is_not_deleted(runs, open_page):
    app = open_page("runs")
    app.text_input(key="typed digits").input("digits").run()
    with being_built(runs / "digits"):
        app.button(key="delete for good digits").click().run()
    assert (runs / "digits" / "store.duckdb").exists()
    assert not app.exception


def test_a_run_against_itself_by_the_same_method_is_the_same(runs, open_page):
    app = open_page("runs", show=COMPARE, other_method="TRAK")
    assert not app.exception
    said = words(app)
    assert "TRAK and TRAK rank the training examples very similarly (rank correlation 1.00 on average)" in said
    assert "they share 20.0, of the opponents 20.0 (by chance: 0.3)" in said
    assert "One and the same run" in said


def test_a_run_is_first_compared_by_a_method_that_is_no_control(runs, open_page):
    with open_run(runs / "digits") as run:
        controls = {title for name, title in run.method_titles.items() if name in controls_of(run)}
        methods = set(run.method_titles.values()) - controls - {"TRAK"}
    assert controls
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:  # a control that comes first
        connection.execute("UPDATE methods SET is_baseline = false WHERE is_control")
    app = open_page("runs", show=COMPARE)
    assert not app.exception
    assert app.selectbox(key="other_method").value in methods


def test_two_runs_of_the_same_data_are_compared_by_the_same_method(runs, open_page):
    shutil.copytree(runs / "digits", runs / "other")
    app = open_page("runs", show=COMPARE, run="digits", other="other")
    assert not app.exception
    assert "TRAK of digits and TRAK of other rank the training examples very similarly" in words(app)
    assert app.selectbox(key="other_method").value == "TRAK"


def test_a_picked_test_example_leads_to_both_explanations(runs, open_page):
    app = open_page("runs", show=COMPARE, test="17")
    assert "Test example 17: rank correlation" in words(app)
    links = [element.proto.query_string for element in app.get("page_link")]
    assert any("test=17" in link and "method=TRAK" in link for link in links)


def test_runs_of_other_data_say_so_and_compare_what_can_be(runs, open_page):
    import duckdb

    shutil.copytree(runs / "digits", runs / "other")
    with duckdb.connect(str(runs / "other" / "store.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = '\"else\"' WHERE key = 'data_fingerprint'")
        connection.execute("UPDATE meta SET value = '5' WHERE key = 'seed'")
    app = open_page("runs", show=COMPARE, run="digits", other="other")
    assert not app.exception
    assert "These runs were made from different data" in words(app)
    facts, settings = (table.value for table in app.dataframe)
    assert facts.iloc[0].tolist() == ["run", "digits", "other"]
    assert ["seed", "0", "5"] in settings.to_numpy().tolist()


@pytest.mark.parametrize(
    ("address", "notice"),
    [
        ({"other": "nope"}, "There is no run “nope” to compare with; this is the run itself."),
        ({"other_method": "magik"}, "The other run has no method “magik”; another is shown."),
        ({"method": "magik"}, "There is no method “magik” in this run"),
        ({"show": "nothing"}, "This page has no part “nothing”; this is “All runs”."),
    ],
)
def test_a_bad_address_gives_a_notice_and_the_page_goes_on(runs, open_page, address, notice):
    app = open_page("runs", **({"show": COMPARE} | address))
    assert not app.exception
    assert notice in words(app)


def test_another_run_that_is_damaged_is_told(runs, open_page):
    (runs / "zbroken").mkdir()
    (runs / "zbroken" / "store.duckdb").write_bytes(b"not a database")
    app = open_page("runs", show=COMPARE, run="digits", other="zbroken")
    assert not app.exception
    assert "The other run cannot be opened" in words(app)


def test_behind_a_run_stand_settings_seeds_versions_and_sums(runs, open_page):
    app = open_page("runs", show=BEHIND)
    assert not app.exception
    facts, sizes, checkpoints, methods = (table.value for table in app.dataframe)
    told = dict(zip(facts["what"], facts["value"], strict=True))
    assert told["seed"] == "0" and told["recipe"] == "digits" and "torch" in told
    assert len(checkpoints) == 3 and "TRAK" in methods["method"].tolist()
    assert sizes["part"].iloc[0] == "store: everything that pages show"


@pytest.mark.slow
def test_a_run_can_be_checked_and_every_check_is_listed(runs, open_page):
    app = open_page("runs", show=BEHIND)
    app.button[0].click().run(timeout=120)
    assert words(app).count("holds: ") == 8
    (runs / "digits" / "checkpoints" / "model_1.safetensors").write_bytes(b"changed")
    app.button[0].click().run(timeout=120)
    assert "fails: checkpoints are the files that were trained" in words(app)
    assert "model_1.safetensors has other content" in words(app)


def test_a_run_too_large_for_a_browser_is_written_beside_the_runs(runs, open_page, monkeypatch):
    monkeypatch.setattr("pages.components.provenance_panel.run_bytes", lambda path: 300_000_000)
    app = open_page("runs", show=BEHIND)
    assert "The run has 300 MB, too many for a browser." in words(app)
    assert not app.code
    done_at_once(monkeypatch)
    press(app, "Write the run file")
    target = runs.parent / "exports" / "digits.zip"
    assert f"The run file is {target}." in successes(app)
    assert import_run(target, runs, "again") == runs / "again"


def test_a_run_file_on_this_machine_is_opened_by_its_path(runs, open_page, tmp_path, monkeypatch):
    export_run(runs / "digits", tmp_path / "x.zip")
    done_at_once(monkeypatch)
    app = open_page("runs")
    app.text_input(key="run file path").input(str(tmp_path / "x.zip")).run()
    press(app, "Add to the runs")
    assert "There is a run 'digits' already; give this one another name with “Name”" in words(app)
    app.text_input(key="file name").input("again").run()
    press(app, "Add to the runs")
    assert not app.exception
    assert "The run was added." in successes(app)
    assert (runs / "again" / "store.duckdb").exists()


def test_a_run_file_is_opened_under_a_name(runs, open_page, tmp_path):
    content = export_run(runs / "digits", tmp_path / "x.zip").read_bytes()
    app = open_page("runs")
    app.file_uploader(key="run file").upload("x.zip", content, "application/zip").run()
    press(app, "Add to the runs")
    assert "there is a run 'digits' already; give this one another name under “Name here”" in words(app)
    app.text_input(key="file name").input("again").run()
    press(app, "Add to the runs")
    assert "The run “again” was added." in words(app)
    assert (runs / "again" / "store.duckdb").exists()


def test_a_bad_run_file_is_one_sentence_and_leaves_nothing(runs, open_page):
    app = open_page("runs")
    press(app, "Add to the runs")
    assert "Choose a run file first." in words(app)
    app.file_uploader(key="run file").upload("x.zip", b"PK\x03\x04 junk", "application/zip").run()
    press(app, "Add to the runs")
    assert not app.exception
    assert "is no exported run, or it is damaged" in words(app)
    assert [path.name for path in runs.iterdir()] == ["digits"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_goes_on_when_its_run_is_deleted(runs, open_page, page):
    shutil.copytree(runs / "digits", runs / "other")
    app = open_page(page, run="other")
    assert not app.exception
    shutil.rmtree(runs / "other")
    app.run(timeout=60)
    assert not app.exception
    assert app.selectbox(key="run").value == "digits"
    assert "There is no run “other” any more; this is “digits”." in words(app)
    shutil.rmtree(runs / "digits")
    app.run(timeout=60)
    assert not app.exception


@pytest.mark.parametrize("page", PAGES)
def test_a_page_goes_on_when_its_run_is_damaged(runs, open_page, page):
    app = open_page(page, run="digits")
    damaged = runs / "new.duckdb"
    damaged.write_bytes(b"not a database")
    damaged.replace(runs / "digits" / "store.duckdb")
    app.run(timeout=60)
    assert not app.exception
    assert "cannot be opened" in words(app)


def test_the_comparison_goes_on_when_the_other_run_is_deleted(runs, open_page):
    shutil.copytree(runs / "digits", runs / "other")
    app = open_page("runs", show=COMPARE, run="digits", other="other")
    shutil.rmtree(runs / "other")
    app.run()
    assert not app.exception
    assert "There is no run “other” any more; this is the run itself." in words(app)

"""Where runs and data lie: in the folder where the program is started, never beside the program."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from trak_core.__main__ import cli
from trak_core.datasets.download import COLLECTIONS, Collection, RemoteFile
from trak_core.folders import PACKAGE_DIR, runs_dir, sources_dir


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is current, with nothing in the environment that names runs."""
    monkeypatch.delenv("TRAK_RUNS_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_lie_in_data_of_the_current_folder_wherever_the_program_is(elsewhere):
    assert runs_dir() == elsewhere / "data" / "runs"
    assert not runs_dir().is_relative_to(PACKAGE_DIR.parent)


def test_the_environment_names_another_directory_of_runs_also_by_a_relative_path(elsewhere, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", "kept/runs")
    assert runs_dir() == elsewhere / "kept" / "runs"
    monkeypatch.setenv("TRAK_RUNS_DIR", "")
    assert runs_dir() == elsewhere / "data" / "runs"


def test_data_lie_beside_the_runs(elsewhere, monkeypatch):
    assert sources_dir() == elsewhere / "data" / "sources"
    monkeypatch.setenv("TRAK_RUNS_DIR", str(elsewhere / "kept" / "runs"))
    assert sources_dir() == elsewhere / "kept" / "sources"


@pytest.mark.parametrize(("runs", "folder"), [(None, "data/sources"), ("kept/runs", "kept/sources")])
def test_downloads_lie_there_too_unless_a_folder_is_given(elsewhere, monkeypatch, runs, folder):
    # The SHA-256 of no bytes at all: an empty file is a whole download.
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    monkeypatch.setitem(COLLECTIONS, "tiny", Collection("https://unreachable.invalid/", (RemoteFile("a", 0, digest),)))
    (elsewhere / "mirror").mkdir()
    (elsewhere / "mirror" / "a").touch()
    if runs:
        monkeypatch.setenv("TRAK_RUNS_DIR", runs)
    for given, expected in (([], folder), (["mine"], "mine")):
        done = CliRunner().invoke(cli, ["download", "tiny", *given, "--mirror", "mirror"])
        assert done.exit_code == 0, done.output
        assert (elsewhere / expected / "tiny" / "a").is_file()


def test_listing_says_which_directory_is_empty(elsewhere):
    assert f"No run in {elsewhere / 'data' / 'runs'} yet" in CliRunner().invoke(cli, ["runs"]).output

"""Fixtures: a small but real run of digits, built once a session."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.browser.driver import chromium_path
from tests.installed import Installed, install
from trak_core.threads import wait_passively

# Before torch is imported: two cores, for one process of tests or for two beside each other (`-n 2`), whose threads
# would wait for each other. Workers inherit what the process that started them has set.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "2")
wait_passively()


SMALL = {"n_checkpoints": 3, "proj_dim": 16, "n_subsets": 20, "n_seeds": 2}
CHEAP = {
    "methods": ("trak", "grad_dot", "tracin", "datamodel_ridge", "nearest", "same_class", "random"),
    "n_removal_tests": 4,
    "removal_sizes": (5, 10),
    "n_removal_seeds": 2,
    "n_datamodel_subsets": 12,
    "n_truth_subsets": 6,
}


OWN_METHODS = (
    *("trak", "grad_dot", "grad_cos", "influence_ekfac", "logra", "tracin", "source"),
    *("datamodel_ridge", "empirical", "embedding", "random"),
)
OWN_SIZES = ["--n-checkpoints", "3", "--n-subsets", "26", "--n-seeds", "2"]
OWN_EVIDENCE = [
    *("--removal-tests", "2", "--removal-size", "10", "--removal-seeds", "2"),
    *("--datamodel-subsets", "16", "--truth-subsets", "0"),
    *(word for method in OWN_METHODS for word in ("--method", method)),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests say so and skip where there is no Chromium, except in CI, where they fail."""
    if chromium_path() or os.environ.get("CI"):
        return
    skip = pytest.mark.skip(reason="no Chromium found; install Debian's `chromium` or set CHROMIUM to its path")
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(skip)


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A directory that the first of several workers makes and all of them read."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    directory, done = root / name, root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.exists():
            directory.mkdir()
            make(directory)
            done.touch()
    return directory


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    """Runs that pages keep open must not outlive their test, nor the interpreter."""
    yield
    if (streamlit := sys.modules.get("streamlit")) is not None:
        streamlit.cache_resource.clear()
        streamlit.cache_data.clear()


@pytest.fixture(scope="session")
def truth_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of tiny runs: "learnt", whose models have learnt something, and others that have not."""
    from tests.blind_runs import build_all

    return made_once(tmp_path_factory, "truth_runs", build_all)


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of runs that holds one finished small run, "digits"."""
    from trak_core.engine import BuildSettings, build_run
    from trak_core.subjects import find_recipe

    settings = BuildSettings.of(find_recipe("digits"), seed=0, device="cpu", **SMALL)
    return made_once(tmp_path_factory, "small", lambda directory: build_run(settings, "digits", directory))


@pytest.fixture
def runs(small_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small run that a test may break, set as the directory of runs."""
    copy = tmp_path / "runs"
    shutil.copytree(small_runs, copy)
    monkeypatch.setenv("TRAK_RUNS_DIR", str(copy))
    return copy


@pytest.fixture(scope="session")
def table_desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of sixty short reviews, reviews.csv, and below runs the run "own", built from it."""
    import numpy as np

    from trak_core.datasets.custom_data import CustomData
    from trak_core.engine.custom_build import CustomBuild, build_custom_data

    def make(folder: Path) -> None:
        draw = np.random.default_rng(0)
        words = {"pos": ["fine", "lovely", "warm"], "neg": ["dull", "awful", "cold"]}
        rows = [
            f"{label},{' '.join(draw.choice([*words[label], 'film', 'scene'], 5))} {number}"
            for number, label in enumerate(("pos", "neg") * 30)
        ]
        table = folder / "reviews.csv"
        table.write_text("\n".join(["label,text", *rows]) + "\n", encoding="utf-8")
        data = CustomData("table", table, text="text", label="label")
        build_custom_data(data, CustomBuild(n_checkpoints=2, n_subsets=20, n_seeds=1), "own", folder / "runs")

    return made_once(tmp_path_factory, "table", make)


@pytest.fixture(scope="session")
def measured_runs(small_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of runs with a copy of the small run whose methods are measured."""
    from trak_core.engine import MeasureSettings, measure_run

    def make(directory: Path) -> None:
        shutil.copytree(small_runs, directory, dirs_exist_ok=True)
        measure_run(directory / "digits", MeasureSettings(**CHEAP))

    return made_once(tmp_path_factory, "measured", make)


@pytest.fixture(scope="session")
def own_desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with somebody's subject in a file, and below runs the run "mine", built from it and measured."""
    from click.testing import CliRunner

    from tests import own_subject
    from trak_core.__main__ import cli

    def make(folder: Path) -> None:
        shutil.copy(own_subject.__file__, folder / "my_subject.py")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRAK_RUNS_DIR", str(folder / "runs"))
            for command in (["build", str(folder / "my_subject.py"), *OWN_SIZES], ["evidence", "mine", *OWN_EVIDENCE]):
                done = CliRunner().invoke(cli, command)
                assert done.exit_code == 0, (done.output, done.exception)

    return made_once(tmp_path_factory, "desk", make)


@pytest.fixture(scope="session")
def token_desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the subject of a language model in a file, and below runs the run "words", built from it."""
    from click.testing import CliRunner

    from trak_core.__main__ import cli

    def make(folder: Path) -> None:
        file = shutil.copy(Path(__file__).parent / "token_subject.py", folder / "words.py")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRAK_RUNS_DIR", str(folder / "runs"))
            sizes = ["--n-checkpoints", "2", "--n-subsets", "20", "--n-seeds", "1"]
            done = CliRunner().invoke(cli, ["build", str(file), *sizes])
            assert done.exit_code == 0, (done.output, done.exception)

    return made_once(tmp_path_factory, "words", make)


@pytest.fixture
def token_runs(token_desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of runs that holds that run; do not change its files."""
    monkeypatch.setenv("TRAK_RUNS_DIR", str(token_desk / "runs"))
    return token_desk / "runs"


@pytest.fixture
def own_runs(own_desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of runs that holds that run; do not change its files."""
    monkeypatch.setenv("TRAK_RUNS_DIR", str(own_desk / "runs"))
    return own_desk / "runs"


@pytest.fixture
def own_copy(own_desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder that a test may change, in a process that knows nothing of the subject."""
    from trak_core.subjects import subject_file

    copy = tmp_path / "desk"
    shutil.copytree(own_desk, copy)
    monkeypatch.setenv("TRAK_RUNS_DIR", str(copy / "runs"))
    monkeypatch.setattr(subject_file, "_remembered", type(subject_file._remembered)())
    return copy


@pytest.fixture
def no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory of runs."""
    directory = tmp_path / "none"
    monkeypatch.setenv("TRAK_RUNS_DIR", str(directory))
    return directory


@pytest.fixture
def small_run(small_runs: Path) -> Iterator["object"]:
    """The small run, open; do not change its files."""
    from trak_core.live.run import open_run

    with open_run(small_runs / "digits") as run:
        yield run


@pytest.fixture
def measured_run(measured_runs: Path) -> Iterator["object"]:
    """The measured run, open; do not change its files."""
    from trak_core.store.run import open_run

    with open_run(measured_runs / "digits") as run:
        yield run


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The package, installed apart from the checkout."""
    return install(tmp_path_factory.mktemp("installed"))

"""Runs saved from Python: the explorer's reader finds in them what the attributor says."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import trak_core as tc
from tests.oracles import plain_spearman
from tests.subjects import (
    N_CLASSES,
    N_TEST,
    N_TRAIN,
    TEST,
    TRAIN,
    SmallNet,
    make_attributor,
    make_checkpoints,
    make_net,
)
from trak_core.engine import fitted as fitted_module
from trak_core.errors import InvalidDataError, InvalidSettingError, RunMismatchError
from trak_core.evidence.verification import verify
from trak_core.store.writer import StoreWriter
from trak_core.views.browse import overview

NAMES = ["ant", "bee", "cat", "dog"]


def single(**settings):
    return make_attributor(2, precision="float32", **settings)


def failed(run: tc.Run) -> dict[str, str]:
    return {check.name: check.detail for check in verify(run) if not check.ok}


@pytest.mark.parametrize("settings", [{}, {"proj_dim": 32}, {"proj_dim": 32, "projection": "kronecker"}])
def test_a_saved_run_holds_the_scores_predictions_and_features(settings, tmp_path):
    attributor = single(**settings).fit(TRAIN)
    attributor.save(tmp_path / "mine", TRAIN, TEST, NAMES, title="Mine")
    with tc.open_run(tmp_path / "mine") as run:
        assert failed(run) == {}
        assert (run.info.n_train, run.info.n_test, run.info.n_checkpoints) == (N_TRAIN, N_TEST, 2)
        assert (run.info.title, run.info.class_names, run.info.method) == ("Mine", tuple(NAMES), "trak")
        np.testing.assert_array_equal(run.scores(), attributor.score(TEST))
        np.testing.assert_array_equal(run.train_labels, TRAIN[1])
        for test_idx in (0, 5):
            other = (int(TEST[1][test_idx]) + 1) % N_CLASSES
            expected = attributor.score((TEST[0][test_idx : test_idx + 1], None), targets=[other])[0]
            row = run.score_row(test_idx, target=run.target_of_class(test_idx, other))
            np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-7)
        stored = run.columns("SELECT q FROM features WHERE checkpoint_id = 1 AND split = 'train' ORDER BY idx")["q"]
        np.testing.assert_allclose(stored, attributor.fitted.store.column(1, "q"), rtol=1e-6)
        net = make_net()
        net.load_state_dict(make_checkpoints(2)[1])
        with torch.no_grad():
            logits = net.eval()(TEST[0])
        rows = run.columns(
            "SELECT predicted, p_label FROM predictions WHERE checkpoint_id = 1 AND split = 'test' ORDER BY idx"
        )
        np.testing.assert_array_equal(rows["predicted"], logits.argmax(1))
        np.testing.assert_allclose(rows["p_label"], logits.softmax(1).gather(1, TEST[1][:, None])[:, 0], rtol=1e-4)


def test_features_of_an_exact_run_keep_inner_products_on_average(tmp_path):
    """Live scoring works on them: projected to 256 dimensions, they rank train examples nearly as gradients do."""
    attributor = single().fit(TRAIN)
    attributor.save(tmp_path / "mine", TRAIN, TEST, NAMES)
    with tc.open_run(tmp_path / "mine") as run:
        phi = {
            split: np.stack(
                run.columns(f"SELECT phi FROM features WHERE checkpoint_id = 0 AND split = '{split}' ORDER BY idx")[
                    "phi"
                ]
            )
            for split in ("train", "test")
        }
    assert phi["train"].shape == (N_TRAIN, 256)
    store, feature_map = attributor.fitted.store, attributor.fitted.maps[0]
    block = next(fitted_module.Data(TEST, "test").blocks(100))
    exact = feature_map.inner_products(
        attributor.fitted.features(0, feature_map, block, TEST[1]).rows, torch.from_numpy(store.rows(0, 0))
    ).numpy()
    correlations = [plain_spearman(row, other) for row, other in zip(phi["test"] @ phi["train"].T, exact, strict=True)]
    assert np.mean(correlations) > 0.9


def test_thumbnails_come_from_the_inputs_or_from_the_caller(tmp_path):
    attributor = single().fit(TRAIN)
    attributor.save(tmp_path / "own", TRAIN, TEST)
    given = ([b"png of train"] * N_TRAIN, [b"png of test"] * N_TEST)
    attributor.save(tmp_path / "given", TRAIN, TEST, thumbnails=given)
    with tc.open_run(tmp_path / "own") as run:
        (png,) = run.rows("SELECT thumbnail FROM examples WHERE split = 'train' AND idx = 3")[0]
        pixels = np.asarray(Image.open(io.BytesIO(png)), dtype=float)
        assert pixels.shape == (60, 60)
        assert np.corrcoef(pixels[::10, ::10].reshape(-1), TRAIN[0][3].reshape(-1))[0, 1] > 0.999
        assert run.info.class_names == ("0", "1", "2", "3")
    with tc.open_run(tmp_path / "given") as run:
        assert run.rows("SELECT DISTINCT thumbnail FROM examples WHERE split = 'test'") == [(b"png of test",)]


def test_texts_are_saved_with_a_text_task(tmp_path):
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(20, 6, padding_idx=0)
            self.out = nn.Linear(6, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.out(self.words(tokens).mean(1))

    generator = torch.Generator().manual_seed(0)
    train = (torch.randint(20, (12, 5), generator=generator), torch.arange(12) % 2)
    test = (torch.randint(20, (3, 8), generator=generator), torch.arange(3) % 2)
    texts = ([f"train {i}" for i in range(12)], [f"<b>test {i}</b>" for i in range(3)])
    torch.manual_seed(0)
    attributor = tc.Attributor(Bag(), "text_classification", progress=False).fit(train)
    attributor.save(tmp_path / "texts", train, test, ["no", "yes"], texts=texts)
    with tc.open_run(tmp_path / "texts") as run:
        assert failed(run) == {}
        assert run.info.modality == "text"
        assert run.rows("SELECT text FROM examples WHERE split = 'test' AND idx = 2") == [("<b>test 2</b>",)]


def test_a_run_may_explain_labels_only(tmp_path):
    single().fit(TRAIN).save(tmp_path / "mine", TRAIN, TEST, targets="default")
    with tc.open_run(tmp_path / "mine") as run:
        assert failed(run) == {}
        assert not run.explains_targets("trak")
        assert [*run.targets(3)] == [0]


def test_calibrated_scores_are_saved_calibrated(tmp_path):
    attributor = single().fit(TRAIN)
    masks = np.random.default_rng(0).uniform(size=(60, N_TRAIN)) < 0.5
    attributor.calibrate(TEST, masks, 3.0 * masks @ attributor.score(TEST, ridge=2.0).T)
    attributor.save(tmp_path / "mine", TRAIN, TEST)
    with tc.open_run(tmp_path / "mine") as run:
        np.testing.assert_array_equal(run.scores(), attributor.score(TEST))
        assert run.info.provenance["ridge"] == 2.0
        assert run.in_model_units("trak")


def test_saving_again_changes_nothing_and_another_run_is_never_overwritten(tmp_path):
    attributor = single().fit(TRAIN)
    attributor.save(tmp_path / "mine", TRAIN, TEST)
    before = (tmp_path / "mine" / "store.duckdb").read_bytes()
    attributor.save(tmp_path / "mine", TRAIN, TEST)
    with pytest.raises(RunMismatchError, match="run 'mine' is there already"):
        attributor.save(tmp_path / "mine", TRAIN, (TEST[0][:5], TEST[1][:5]))
    with pytest.raises(RunMismatchError, match="run 'mine' is there already"):
        single(ridge=1.0).fit(TRAIN).save(tmp_path / "mine", TRAIN, TEST)
    assert (tmp_path / "mine" / "store.duckdb").read_bytes() == before


def test_an_interrupted_save_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(fitted_module, "BLOCK", 8)
    attributor = single().fit(TRAIN)
    plain, written = StoreWriter.write, []

    def write(self, block, *args):
        if len(written) == 5:
            raise KeyboardInterrupt
        plain(self, block, *args)
        written.append(block)

    monkeypatch.setattr(StoreWriter, "write", write)
    with pytest.raises(KeyboardInterrupt):
        attributor.save(tmp_path / "mine", TRAIN, TEST)
    first = list(written)
    monkeypatch.setattr(
        StoreWriter, "write", lambda self, block, *args: written.append(block) or plain(self, block, *args)
    )
    attributor.save(tmp_path / "mine", TRAIN, TEST)
    assert len(written) == len(set(written))
    assert written[: len(first)] == first
    with tc.open_run(tmp_path / "mine") as run:
        assert failed(run) == {}
        np.testing.assert_array_equal(run.scores(), attributor.score(TEST))
    assert not (tmp_path / "mine" / "build").exists()


def test_train_examples_other_than_those_fitted_are_refused(tmp_path):
    attributor = single().fit(TRAIN)
    with pytest.raises(RunMismatchError, match="train differs from example 0 on from the 37 examples that were fitted"):
        attributor.save(tmp_path / "mine", (TRAIN[0].flip(0), TRAIN[1].flip(0)), TEST)
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"class_names": ["a", "b"]}, InvalidSettingError, "2 names, 2 of them different, but the model has 4 outputs"),
        ({"thumbnails": ([], [])}, InvalidDataError, "thumbnails hold 0 entries for 37 train examples"),
        ({"targets": "some"}, InvalidSettingError, "targets='some'"),
    ],
)
def test_what_does_not_fit_the_examples_is_refused(settings, error, message, tmp_path):
    with pytest.raises(error, match=message):
        single().fit(TRAIN).save(tmp_path / "mine", TRAIN, TEST, **settings)


def test_another_title_or_text_is_another_run(tmp_path):
    attributor = single().fit(TRAIN)
    attributor.save(tmp_path / "mine", TRAIN, TEST, title="one")
    with pytest.raises(RunMismatchError, match="run 'mine' is there already"):
        attributor.save(tmp_path / "mine", TRAIN, TEST, title="two")


@pytest.mark.parametrize("labels", [torch.full((N_TEST,), 4), torch.full((N_TEST,), 0.5), torch.zeros(N_TEST, 1)])
def test_labels_that_no_class_has_are_refused_before_anything_is_written(labels, tmp_path):
    with pytest.raises(InvalidDataError):
        single().fit(TRAIN).save(tmp_path / "mine", TRAIN, (TEST[0], labels))
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("names", ["abcd", ["a", "b", "b", "c"]])
def test_class_names_must_be_a_list_of_different_names(names, tmp_path):
    with pytest.raises(InvalidSettingError, match="class_names"):
        single().fit(TRAIN).save(tmp_path / "mine", TRAIN, TEST, names)


@pytest.mark.parametrize("name", [".hidden", "a b", "ä"])
def test_names_that_no_run_may_have_are_refused(name, tmp_path):
    with pytest.raises(InvalidSettingError, match="run name"):
        single().fit(TRAIN).save(tmp_path / name, TRAIN, TEST)


def test_a_model_with_tied_weights_can_be_saved(tmp_path):
    class Tied(SmallNet):
        def __init__(self) -> None:
            super().__init__()
            self.again = self.fc2

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images)

    torch.manual_seed(0)
    tc.Attributor(Tied(), progress=False).fit(TRAIN).save(tmp_path / "tied", TRAIN, TEST)
    with tc.open_run(tmp_path / "tied") as run:
        assert failed(run) == {}


def test_the_explorer_opens_a_saved_run(monkeypatch, tmp_path):
    from streamlit.testing.v1 import AppTest

    single().fit(TRAIN).save(tmp_path / "mine", TRAIN, TEST, NAMES, title="My small network")
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path))
    app = AppTest.from_file("../app.py", default_timeout=60).run()
    assert not app.exception
    for page in ("pages/explore.py", "pages/evidence.py"):
        app.switch_page(page).run()
        assert not app.exception, page
    assert app.subheader[0].value == "Nothing was retrained for this run"


def make_regression(path, **settings):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(30, 5, generator=generator)
    targets = inputs.sum(1) + torch.randn(30, generator=generator)
    model = nn.Linear(5, 1)
    torch.nn.init.constant_(model.weight, 0.9)
    attributor = tc.Attributor(model, progress=False, **settings).fit((inputs, targets))
    attributor.save(path, (inputs, targets), (inputs[:7], targets[:7]))
    return attributor, model, (inputs[:7], targets[:7])


@pytest.mark.parametrize(
    "task",
    ["regression", tc.CustomTask(lambda outputs, y: outputs[:, 0], lambda outputs, y: y - outputs[:, 0])],
    ids=["regression", "custom"],
)
def test_a_run_of_numbers_instead_of_classes_opens_too(task, monkeypatch, tmp_path):
    from streamlit.testing.v1 import AppTest

    attributor, model, test = make_regression(tmp_path / "numbers", task=task)
    with tc.open_run(tmp_path / "numbers") as run:
        assert failed(run) == {}
        np.testing.assert_array_equal(run.scores(), attributor.score(test))
        answers = overview(run).answers
        with torch.no_grad():
            assert answers == [f"{value:.4g}" for value in model(test[0])[:, 0].tolist()]
        best = run.proponents(2, k=1)
        assert best["train_idx"][0] == run.scores()[2].argmax()
        assert run.in_model_units("trak") == (task == "regression")
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path))
    app = AppTest.from_file("../app.py", default_timeout=60).run()
    app.switch_page("pages/explore.py").run()
    assert not app.exception
    shown = [text.value for text in app.text]
    said = ("The model answers", "its target is") if task == "regression" else ("The model output for the target", "is")
    assert any(all(part in text for part in said) for text in shown)
    app.switch_page("pages/evidence.py").run()
    assert not app.exception

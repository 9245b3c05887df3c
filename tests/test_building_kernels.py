"""The kernels of a build against dense oracles, and a build that works with projected gradients."""

import sys

import numpy as np
import pytest
import torch

from tests.tiny import QUICK, SETTINGS, TINY
from trak_core.engine import build_run, kernels, measure_run
from trak_core.engine.kernels import Kernels, ProjectedKernel, WholeKernel, is_projected
from trak_core.errors import NotInRunError
from trak_core.gradients import representations
from trak_core.methods import GradientRows
from trak_core.store.run import open_run
from trak_core.subjects import RECIPES
from trak_core.training import train_ensemble


@pytest.fixture(scope="module")
def trained():
    subject = TINY.load()
    inputs, labels = torch.from_numpy(subject.dataset.train.inputs), torch.from_numpy(subject.dataset.train.labels)
    masks = np.ones((1, len(labels)), bool)
    ensemble = train_ensemble(subject.make_model, subject.task, inputs, labels, masks, [0], subject.training)
    return subject, ensemble, inputs, labels


def gradients_of(trained):
    subject, ensemble, inputs, labels = trained
    return GradientRows(ensemble.architecture, subject.task, ensemble.state_dict(0), inputs, labels)


@pytest.mark.parametrize("ridge", [0.5, 5.0])
def test_kernels_agree_with_dense_algebra(trained, ridge):
    _, ensemble, inputs, labels = trained
    rows, weights = gradients_of(trained), ensemble.state_dict(0)
    masks = torch.from_numpy(np.random.default_rng(0).random((6, len(labels))) < 0.5).float()
    whole = WholeKernel(rows, weights, inputs, labels)
    projected = ProjectedKernel(rows, weights, inputs, labels, seed=3, proj_dim=32)
    features = {
        "whole": rows.flat(weights, inputs, labels).double(),
        "projected": projected.test_rows(inputs, labels).double(),
    }
    for kernel, phi in ((whole, features["whole"]), (projected, features["projected"])):
        matrix = phi.T @ phi
        scale = ridge * matrix.trace() / len(phi)
        expected = phi[:7] @ torch.linalg.solve(matrix + scale * torch.eye(len(matrix)).double(), phi.T)
        test = kernel.test_rows(inputs[:7], labels[:7])
        torch.testing.assert_close(kernel.attribute(test, ridge).double(), expected, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(
            kernel.predict(test, ridge, masks).double(), expected @ masks.T.double(), rtol=1e-3, atol=1e-4
        )
        torch.testing.assert_close(kernel.leverages(ridge)[:7].double(), expected.diagonal(), rtol=1e-3, atol=1e-5)


def test_a_wide_projection_gives_what_whole_gradients_give(trained):
    _, ensemble, inputs, labels = trained
    rows, weights = gradients_of(trained), ensemble.state_dict(0)
    whole = WholeKernel(rows, weights, inputs, labels)
    wide = ProjectedKernel(rows, weights, inputs, labels, seed=3, proj_dim=2048)
    exact = whole.attribute(whole.test_rows(inputs[:20], labels[:20]), 2.0).flatten()
    rough = wide.attribute(wide.test_rows(inputs[:20], labels[:20]), 2.0).flatten()
    assert np.corrcoef(exact, rough)[0, 1] > 0.95


def test_what_is_projected_follows_from_sizes_alone(monkeypatch):
    subject = TINY.load()
    assert not is_projected(subject)
    monkeypatch.setattr(kernels, "MAX_WHOLE_TRAIN", 119)
    assert is_projected(subject)
    monkeypatch.undo()
    monkeypatch.setattr(kernels, "MAX_WHOLE_PARAMETERS", 120 * 609)
    assert is_projected(subject)
    monkeypatch.setattr(kernels, "MAX_WHOLE_PARAMETERS", 120 * 610)
    assert not is_projected(subject)


def test_a_build_with_projected_gradients_predicts_nearly_as_well(tmp_path, monkeypatch):
    with open_run(build_run(SETTINGS, "exact", tmp_path, recipe=TINY)) as run:
        exact = run.lds().mean
        assert run.info.provenance["kernel"] == "exact, dual"
    monkeypatch.setattr(kernels, "MAX_WHOLE_TRAIN", 10)
    monkeypatch.setattr(kernels, "FEATURES_WHEN_PROJECTED", 256)
    with open_run(build_run(SETTINGS, "projected", tmp_path, recipe=TINY)) as run:
        assert run.info.provenance["kernel"] == "projected to 256, primal"
        assert run.lds().mean == pytest.approx(exact, abs=0.05)
        assert run.info.is_projected
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    with pytest.raises(NotInRunError, match="its kernel is projected"):
        measure_run(tmp_path / "projected", QUICK)


def test_each_checkpoint_has_a_projection_of_its_own(trained):
    subject, ensemble, inputs, labels = trained
    both = Kernels(ensemble, subject.task, (inputs, labels), projected=True, seed=1)
    other = Kernels(ensemble, subject.task, (inputs, labels), projected=True, seed=2)
    same = Kernels(ensemble, subject.task, (inputs, labels), projected=True, seed=1)
    rows = [kernel[0].test_rows(inputs[:3], labels[:3]) for kernel in (both, other, same)]
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0], rows[1])


def test_batches_change_nothing_that_is_computed(trained, monkeypatch):
    subject, ensemble, inputs, labels = trained
    whole = WholeKernel(gradients_of(trained), ensemble.state_dict(0), inputs, labels)
    rows, logits = whole.test_rows(inputs, labels), ensemble.outputs(subject.task, inputs)
    seen = representations(ensemble.architecture, ensemble.state_dict(0), inputs)
    monkeypatch.setattr(kernels, "NUMBERS_AT_ONCE", 1)
    monkeypatch.setattr("trak_core.training.ensemble.NUMBERS_AT_ONCE", 64 * 7)
    monkeypatch.setattr(sys.modules["trak_core.gradients.representations"], "BATCH", 11)
    torch.testing.assert_close(whole.test_rows(inputs, labels), rows)
    torch.testing.assert_close(ensemble.outputs(subject.task, inputs), logits)
    torch.testing.assert_close(representations(ensemble.architecture, ensemble.state_dict(0), inputs), seen)

"""The kernels of a build against dense oracles, and a build that works with projected gradients."""

import numpy as np
import pytest
import torch

from tests.tiny import QUICK, SETTINGS, TINY
from trak_core.engine import build_run, measure_run, method_context
from trak_core.engine.method_context import kernel_proj_dim
from trak_core.errors import NotInRunError
from trak_core.gradients import forward, representations
from trak_core.methods import (
    CheckpointKernel,
    Examples,
    GradientRows,
    Kernels,
    MethodContext,
    find_method,
    gradient_rows,
)
from trak_core.projection import SjltProjection, SketchMap
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


def rows_of(trained, feature_map, n=None):
    """Features of the first train examples, in blocks."""
    _, ensemble, inputs, labels = trained
    return gradients_of(trained).blocks(ensemble.state_dict(0), inputs[:n], labels[:n], feature_map)


def kernel_of(trained, proj_dim=None, n_blocks=1):
    """The kernel of whole gradients, or that of projected ones."""
    rows = gradients_of(trained)
    sketch = None if proj_dim is None else SketchMap(rows.layers, SjltProjection(proj_dim, 3))
    train = torch.cat(list(rows_of(trained, sketch or rows.whole_map)))
    return CheckpointKernel(train.chunk(n_blocks), sketch or rows.whole_map, dual=sketch is None)


@pytest.mark.parametrize("n_blocks", [1, 7])
@pytest.mark.parametrize("ridge", [0.5, 5.0])
def test_kernels_agree_with_dense_algebra(trained, ridge, n_blocks):
    _, ensemble, inputs, labels = trained
    masks = torch.from_numpy(np.random.default_rng(0).random((6, len(labels))) < 0.5).float()
    whole, projected = kernel_of(trained, None, n_blocks), kernel_of(trained, 32, n_blocks)
    features = {
        "whole": gradients_of(trained).flat(ensemble.state_dict(0), inputs, labels).double(),
        "projected": torch.cat(list(rows_of(trained, projected.feature_map))).double(),
    }
    for kernel, phi in ((whole, features["whole"]), (projected, features["projected"])):
        matrix = phi.T @ phi
        scale = ridge * matrix.trace() / len(phi)
        expected = phi[:7] @ torch.linalg.solve(matrix + scale * torch.eye(len(matrix)).double(), phi.T)
        rows = list(rows_of(trained, kernel.feature_map, 7))
        test = kernel.read(rows)
        torch.testing.assert_close(kernel.attribute(test, ridge).double(), expected, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(
            kernel.predict(test, ridge, masks).double(), expected @ masks.T.double(), rtol=1e-3, atol=1e-4
        )
        torch.testing.assert_close(kernel.leverages(ridge)[:7].double(), expected.diagonal(), rtol=1e-3, atol=1e-5)
        solved = kernel.solved(ridge).attribute(torch.cat(rows))
        torch.testing.assert_close(solved.double(), expected, rtol=1e-3, atol=1e-5)


def test_a_wide_projection_gives_what_whole_gradients_give(trained):
    found = []
    for kernel in (kernel_of(trained), kernel_of(trained, 2048)):
        test = kernel.read(rows_of(trained, kernel.feature_map, 20))
        found.append(kernel.attribute(test, 2.0).flatten())
    assert np.corrcoef(*found)[0, 1] > 0.95


def test_kernels_are_kept_while_there_is_room_and_made_again_otherwise(trained):
    sketch, made = kernel_of(trained, 4).feature_map, []

    def make(index: int) -> CheckpointKernel:
        made.append(index)
        return CheckpointKernel([torch.eye(4)], sketch, dual=False)

    of_one = 2 * 4 * 4 * 8  # a matrix in float64 and its factor
    for n_kept, expected in ((0, [0, 1, 2, 0, 1, 2]), (2, [0, 1, 2]), (3, [0, 1, 2])):
        made.clear()
        kernels_of_run = Kernels(make, 3, n_kept * of_one)
        # The third is still in use when it comes round again: none was made after it where two are kept.
        for index in (0, 0, 1, 2, 0, 1, 2):
            kernels_of_run[index].attribute(torch.eye(4), 1.0)
        assert made == expected


def test_what_is_projected_follows_from_sizes_alone(monkeypatch):
    subject = TINY.load()
    assert kernel_proj_dim(subject) is None
    monkeypatch.setattr(method_context, "MAX_WHOLE_TRAIN", 119)
    assert kernel_proj_dim(subject) == method_context.FEATURES_WHEN_PROJECTED
    monkeypatch.undo()
    monkeypatch.setattr(method_context, "MAX_WHOLE_PARAMETERS", 120 * 609)
    assert kernel_proj_dim(subject) == method_context.FEATURES_WHEN_PROJECTED
    monkeypatch.setattr(method_context, "MAX_WHOLE_PARAMETERS", 120 * 610)
    assert kernel_proj_dim(subject) is None


@pytest.mark.slow
def test_a_build_with_projected_gradients_predicts_nearly_as_well(tmp_path, monkeypatch):
    with open_run(build_run(SETTINGS, "exact", tmp_path, recipe=TINY)) as run:
        exact = run.lds().mean
        assert run.info.provenance["kernel"] == "exact, dual"
    monkeypatch.setattr(method_context, "MAX_WHOLE_TRAIN", 10)
    monkeypatch.setattr(method_context, "FEATURES_WHEN_PROJECTED", 256)
    with open_run(build_run(SETTINGS, "projected", tmp_path, recipe=TINY)) as run:
        assert run.info.provenance["kernel"] == "projected to 256, primal"
        assert run.lds().mean == pytest.approx(exact, abs=0.05)
        assert run.info.is_projected
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    with pytest.raises(NotInRunError, match="its kernel is projected"):
        measure_run(tmp_path / "projected", QUICK)


def test_each_checkpoint_has_a_projection_of_its_own(trained):
    """The same checkpoint twice: one projection would give the scores of either again."""
    subject, ensemble, inputs, labels = trained
    examples = Examples(inputs, labels)

    def scores(seed: int, n: int) -> torch.Tensor:
        states = [ensemble.state_dict(0)] * n
        context = MethodContext(subject.task, ensemble.architecture, states, examples, examples, seed, proj_dim=64)
        return find_method("trak").fit(context).block(slice(5))

    assert torch.equal(scores(1, 2), scores(1, 2))
    assert not torch.equal(scores(1, 2), scores(2, 2))
    assert not torch.allclose(scores(1, 2), scores(1, 1), rtol=0.01)


def test_batches_change_nothing_that_is_computed(trained, monkeypatch):
    subject, ensemble, inputs, _labels = trained
    whole = kernel_of(trained)
    rows, logits = whole.read(rows_of(trained, whole.feature_map)), ensemble.outputs(subject.task, inputs)
    seen = representations(ensemble.architecture, ensemble.state_dict(0), inputs)
    monkeypatch.setattr(gradient_rows, "NUMBERS_AT_ONCE", 1)
    monkeypatch.setattr(gradient_rows, "MIN_ROWS", 64)
    monkeypatch.setattr("trak_core.training.ensemble.NUMBERS_AT_ONCE", 64 * 7)
    monkeypatch.setattr(forward, "REPRESENTED", 11)
    assert len(list(rows_of(trained, whole.feature_map))) == 2
    torch.testing.assert_close(whole.read(rows_of(trained, whole.feature_map)), rows)
    torch.testing.assert_close(ensemble.outputs(subject.task, inputs), logits)
    torch.testing.assert_close(representations(ensemble.architecture, ensemble.state_dict(0), inputs), seen)

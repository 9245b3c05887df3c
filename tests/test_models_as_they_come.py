"""Layers that models have besides plain ones: computed weights, fused attention; and what is no model at all."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trak_core as tc
from trak_core.errors import InvalidModelError, InvalidSettingError
from trak_core.methods import Examples, MethodContext
from trak_core.methods.magic import magic_scores
from trak_core.tasks import Classification
from trak_core.training import TrainingSettings, train_recorded

# torch's own, of fused attention and recurrent cells under vmap, and of its first forward derivative.
pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]
TASK = Classification()
N_TRAIN, N_TEST = 40, 5


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(N_TRAIN, 6), torch.randint(3, (N_TRAIN,))


def scored(model: nn.Module, method: str, data: tuple[Tensor, Tensor]) -> np.ndarray:
    attributor = tc.Attributor(model, method=method, device="cpu", progress=False)
    return attributor.fit(data).score((data[0][:N_TEST], data[1][:N_TEST]))


def loss_gradient(model: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    loss = nn.functional.cross_entropy(model(x[None]), label[None])
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(model.parameters()))])


def output_gradient(model: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    logits = model(x[None])[0]
    others = torch.cat([logits[:label], logits[label + 1 :]])
    margin = logits[label] - others.logsumexp(0)
    return torch.cat([each.flatten() for each in torch.autograd.grad(margin, list(model.parameters()))])


@pytest.mark.parametrize(
    "parametrize",
    [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm],
)
def test_gradients_reach_the_parameters_that_a_weight_is_computed_from(parametrize, data):
    torch.manual_seed(1)
    model = nn.Sequential(parametrize(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 3)).eval()
    found = scored(model, "grad_dot", data)
    test = torch.stack([output_gradient(model, data[0][i], data[1][i]) for i in range(N_TEST)])
    train = torch.stack([-loss_gradient(model, *example) for example in zip(*data, strict=True)])
    expected = (test @ train.T).numpy()
    factor = (expected * found).sum() / (found * found).sum()  # scores are an average over the train examples
    np.testing.assert_allclose(factor * found, expected, atol=1e-5 * np.abs(expected).max())


class Attention(nn.Module):
    """One head over three places, by PyTorch's fused function or written out."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused, self.query, self.head = fused, nn.Linear(6, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        q = self.query(x).view(len(x), 1, 3, 4)
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(q, q, q)
        else:
            mixed = (q @ q.transpose(-1, -2) / 2).softmax(-1) @ q
        return self.head(mixed.reshape(len(x), 12))


def test_conjugate_gradients_go_through_fused_attention(data):
    torch.manual_seed(1)
    fused, plain = Attention(True), Attention(False)
    plain.load_state_dict(fused.state_dict())
    expected = scored(plain, "influence_cg", data)
    found = scored(fused, "influence_cg", data)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())  # rows end at a tolerance


def magic_of(make: Callable[[], nn.Module], data: tuple[Tensor, Tensor]) -> Tensor:
    """MAGIC's scores `[N_TEST, N_TRAIN]` for one training run of a model."""
    settings = TrainingSettings(epochs=2, batch_size=8, learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    trained = train_recorded(make, TASK, *data, [3], settings)
    states = [trained.ensemble.state_dict(0)]
    train, test = Examples(*data), Examples(*(each[:N_TEST] for each in data))
    context = MethodContext(TASK, trained.ensemble.architecture, states, train, test, logs=trained.logs)
    return magic_scores(context, trained.logs[0])


def test_magic_goes_through_fused_attention(data):
    expected, found = magic_of(lambda: Attention(False), data), magic_of(lambda: Attention(True), data)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x[:, None])[0][:, 0])


def test_what_has_no_forward_derivative_is_refused_in_one_sentence(data):
    said = r"without a forward derivative .*mkldnn_rnn.* which {} takes; use influence_ekfac"
    with pytest.raises(InvalidModelError, match=said.format("influence_cg")):
        scored(Recurrent(), "influence_cg", data)
    with pytest.raises(InvalidModelError, match=said.format("magic")):
        magic_of(Recurrent, data)


@pytest.mark.parametrize(
    ("model", "said"),
    [(None, "a NoneType"), (Recurrent, "the class Recurrent"), (nn.Linear(2, 2).state_dict(), "Dict")],
)
def test_what_is_no_model_is_named(model, said):
    with pytest.raises(InvalidModelError, match=f"model is .*{said}.*torch.nn.Module"):
        tc.Attributor(model)


def test_a_method_that_is_no_name_is_refused():
    with pytest.raises(InvalidSettingError, match=r"there is no method \['trak'\]"):
        tc.Attributor(nn.Linear(6, 3), method=["trak"])

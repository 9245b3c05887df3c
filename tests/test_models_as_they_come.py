"""Layers that models have besides plain ones: computed weights, fused attention; and what is no model at all."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trak_core as tc
from trak_core.errors import InvalidModelError, InvalidSettingError

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


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x[:, None])[0][:, 0])


def test_what_has_no_forward_derivative_is_refused_in_one_sentence(data):
    with pytest.raises(InvalidModelError, match=r"without a forward derivative .*mkldnn_rnn.*use influence_ekfac"):
        scored(Recurrent(), "influence_cg", data)


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

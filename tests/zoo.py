"""Models of every kind of layer that hooks know, and some that they do not, for tests of gradients."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

N, N_CLASSES = 5, 3
Build = Callable[[], nn.Module]


class Model(nn.Module):
    """A model whose forward is a function of its modules, which are named by keyword."""

    def __init__(self, run: Callable[["Model", Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.run(self, inputs)


class WithParameter(nn.Module):
    """Adds a parameter of its own; `checked` adds a look at the values, as `vmap` cannot take it."""

    def __init__(self, checked: bool = False) -> None:
        super().__init__()
        self.offset, self.checked = nn.Parameter(torch.randn(6)), checked
        self.head = nn.Linear(6, N_CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(inputs + self.offset)
        return self.head(2 * hidden if self.checked and hidden.sum().item() > 0 else hidden)


class Undifferentiable(torch.autograd.Function):
    """The identity, whose backward pass must never run."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def setup_context(*_: object) -> None: ...

    @staticmethod
    def backward(*_: object) -> Tensor:
        raise AssertionError("differentiated what lies before the first selected layer")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 5, bias=False), nn.Tanh(), nn.Linear(5, N_CLASSES))


def three(run: Callable[[Model, Tensor], Tensor]) -> nn.Module:
    """A model of two Linear layers, a norm layer and a head; some have no part in `run`."""
    return Model(run, fc1=nn.Linear(6, 6), fc2=nn.Linear(6, 6), norm=nn.LayerNorm(6), head=nn.Linear(6, N_CLASSES))


def normed() -> nn.Module:
    image = (nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(2))
    sequence = (nn.RMSNorm(36), nn.Linear(36, 6), nn.LayerNorm(6), nn.BatchNorm1d(4), nn.LayerNorm((4, 6), bias=False))
    return nn.Sequential(*image, *sequence, nn.Flatten(), nn.BatchNorm1d(24), nn.Linear(24, N_CLASSES))


def residual() -> nn.Module:
    fc, drop, act = nn.Linear(6, 6), nn.Dropout(0.5), nn.ReLU(inplace=True)
    return Model(lambda m, x: m.head(m.drop(x + m.act(m.fc(x)))), fc=fc, drop=drop, act=act, head=nn.Linear(6, 3))


def positions(shape: Callable[[Tensor], Tensor], length: int) -> nn.Module:
    """Tokens and positions; `shape` gives the indices of the positions."""
    return Model(
        lambda m, x: m.head(torch.tanh(m.words(x) + m.places(shape(torch.arange(length)))).mean(1)),
        words=nn.Embedding(9, 4, padding_idx=0),
        places=nn.Embedding(7, 4),
        head=nn.Linear(4, N_CLASSES),
    )


def frozen() -> nn.Module:
    return three(lambda m, x: m.head(m.fc1(x))).requires_grad_(False)


def convolutions(*layers: nn.Module) -> nn.Module:
    """Convolutions with tanh between them, and a Linear layer."""
    between = [module for layer in layers for module in (layer, nn.Tanh())]
    return nn.Sequential(*between, nn.Flatten(), nn.LazyLinear(N_CLASSES))


def inplace() -> nn.Module:
    first, second = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(True)), nn.Sequential(nn.Linear(48, 5), nn.ReLU(True))
    return nn.Sequential(first, nn.Flatten(), second, nn.Linear(5, N_CLASSES))


def of_words(**settings: object) -> nn.Module:
    return nn.Sequential(nn.Embedding(9, 4, **settings), nn.Flatten(), nn.Linear(24, N_CLASSES))


def vectors() -> Tensor:
    return torch.randn(N, 6)


def images() -> Tensor:
    return torch.randn(N, 2, 6, 6)


def tokens(n: int = N, length: int = 6) -> Tensor:
    """Few words, so that each example repeats some and holds the padding word 0."""
    return torch.arange(n * length).reshape(n, length).pow(2).remainder(7)


def sequences(n: int = N, length: int = 4) -> Tensor:
    return torch.randn(n, length, 6)


HOOKABLE: dict[str, tuple[Build, Callable[[], Tensor]]] = {
    "mlp": (mlp, vectors),
    "linear on sequences": (lambda: nn.Sequential(mlp(), nn.Flatten(), nn.Linear(12, N_CLASSES)), sequences),
    "folded": (lambda: Model(lambda m, x: m.fc(x.flatten(0, 1)).reshape(len(x), -1, 3).mean(1), fc=mlp()), sequences),
    "stride, dilation": (
        lambda: convolutions(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Conv2d(3, 4, 2, dilation=2)),
        images,
    ),
    "same, circular": (
        lambda: convolutions(
            nn.Conv2d(2, 3, (4, 3), padding="same"), nn.Conv2d(3, 2, 3, padding=2, padding_mode="circular")
        ),
        images,
    ),
    "depthwise": (
        lambda: convolutions(nn.Conv2d(2, 6, 3, groups=2, bias=False), nn.Conv2d(6, 6, 2, groups=6)),
        images,
    ),
    "conv1d": (lambda: convolutions(nn.Conv1d(4, 3, 3, stride=2, padding=1), nn.Conv1d(3, 2, 2)), sequences),
    "inplace": (inplace, images),
    "embedding": (lambda: of_words(padding_idx=0), tokens),
    "sparse embedding": (lambda: of_words(sparse=True), tokens),
    "norms": (normed, images),
    "residual, dropout": (residual, vectors),
    "used twice": (lambda: three(lambda m, x: m.head(m.norm(m.fc1(torch.tanh(m.norm(m.fc1(x))))))), vectors),
    "positions in one row": (lambda: positions(lambda at: at[None], 6), tokens),
    "frozen, unused": (frozen, vectors),
}


def made(build: Build, inputs: Callable[[], Tensor] = vectors) -> tuple[nn.Module, Tensor, Tensor]:
    """A model in float64 with no weight or statistic at its initial value, inputs and labels."""
    torch.manual_seed(0)
    model, batch = build().eval(), inputs()
    model(batch)  # shapes of lazy layers
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape) + 0.5 if "var" in name else 0.4 * torch.randn(value.shape))
    return model.double(), batch.double() if batch.is_floating_point() else batch, torch.arange(len(batch)) % N_CLASSES

"""Models of every kind of layer that hooks know, and some that they do not, for tests of gradients."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
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


class Conv1D(nn.Module):
    """A Linear layer whose weight is `[in, out]`, as GPT-2 of Hugging Face has it."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.addmm(self.bias, inputs.reshape(-1, len(self.weight)), self.weight).unflatten(0, inputs.shape[:-1])


class RootNorm(nn.Module):
    """A norm of a kind of its own, as T5 and Llama have it; `offset` is added to each row of the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(width))

    def forward(self, inputs: Tensor, offset: Tensor | None = None) -> Tensor:
        hidden = inputs if offset is None else inputs + offset
        return self.scale * hidden * (hidden**2).mean(-1, keepdim=True).add(1e-3).rsqrt()


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


def tied(**settings: object) -> nn.Module:
    """A head that shares its weight with the table of tokens; with padding, whose row is never learnt as an input."""
    words, head = nn.Embedding(7, 4, **settings), nn.Linear(4, 7)
    head.weight = words.weight
    return Model(lambda m, x: m.head(torch.tanh(m.words(x)).mean(1))[:, :N_CLASSES], words=words, head=head)


def tied_twice() -> nn.Module:
    """Two tables and two Linear layers that share their weights, one of these without a bias."""
    modules = {"source": nn.Embedding(9, 6), "target": nn.Embedding(9, 6), "fc1": nn.Linear(6, 6)}
    modules |= {"fc2": nn.Linear(6, 6), "fc3": nn.Linear(6, 6, bias=False), "head": nn.Linear(6, N_CLASSES)}
    modules["target"].weight = modules["source"].weight
    modules["fc3"].weight = modules["fc2"].weight = modules["fc1"].weight

    def run(m: Model, x: Tensor) -> Tensor:
        hidden = torch.tanh(m.fc1(m.source(x[:, :3]))) + m.fc2(m.target(x[:, 3:]))
        return m.head(torch.tanh(m.fc3(hidden)).mean(1))

    return Model(run, **modules)


def biased() -> nn.Module:
    """A bias that belongs to a module of its own and is used by the head, as BERT has it."""
    owner, head = nn.Module(), nn.Linear(6, N_CLASSES)
    owner.offset = head.bias
    return Model(lambda m, x: m.head(torch.tanh(m.fc(x))), owner=owner, fc=nn.Linear(6, 6), head=head)


def relative() -> nn.Module:
    """A bias of attention by distance, looked up once for all examples, as T5 has it, and one behind a Linear layer."""

    def run(m: Model, x: Tensor) -> Tensor:
        length = x.shape[1]
        at = torch.arange(length)
        bias = m.table((at[:, None] - at).clamp(-2, 2) + 2).permute(2, 0, 1)[None]  # [1, 2, length, length]
        heads = m.queries(x).unflatten(-1, (2, 3)).transpose(1, 2)
        heads = F.scaled_dot_product_attention(heads, heads, heads, attn_mask=bias)
        bias = torch.tanh(m.grid(m.norm(bias.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        heads = (heads @ heads.transpose(-1, -2) + bias + torch.ones(length)) @ heads
        return m.head(torch.tanh(heads).mean((1, 2)))

    queries, grid, norm = nn.Linear(6, 6), nn.Linear(2, 2), RootNorm(2)
    return Model(run, table=nn.Embedding(5, 2), queries=queries, grid=grid, norm=norm, head=nn.Linear(3, N_CLASSES))


def of_grid() -> nn.Module:
    """Layers of images that see the coordinates of the pixels, once for all images."""

    def run(m: Model, x: Tensor) -> Tensor:
        at = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
        places = torch.stack([at.expand(len(at), -1), at[:, None].expand(-1, len(at))])
        seen = m.conv(x) + m.norm(m.grid(places[None])) + m.grid(places).abs()
        return m.head(torch.tanh(seen).mean((2, 3)))

    conv, grid = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
    return Model(run, conv=conv, grid=grid, norm=nn.GroupNorm(2, 4), head=nn.Linear(4, N_CLASSES))


def frames() -> nn.Module:
    """Several images an example, which the convolution sees as a longer batch."""

    def run(m: Model, x: Tensor) -> Tensor:
        return m.head(m.norm(m.conv(x.reshape(-1, 1, 2, 3))).reshape(len(x), -1))

    return Model(run, conv=nn.Conv2d(1, 2, 2), norm=nn.BatchNorm2d(2), head=nn.Linear(16, N_CLASSES))


def of_own_kinds() -> nn.Module:
    """Modules of kinds that hooks have no formula for."""

    def run(m: Model, x: Tensor) -> Tensor:
        hidden = m.mix(m.norm(m.fc(x), offset=x.flip(1)), m.norm(inputs=x))
        return m.head(m.act(hidden).mean(1))

    own = {"norm": RootNorm(6), "mix": nn.Bilinear(6, 6, 4), "act": nn.PReLU(4, init=0.3)}
    return Model(run, fc=Conv1D(6, 6), **own, head=Conv1D(N_CLASSES, 4))


def repeated() -> nn.Module:
    """Positions that are repeated for each example before they are looked up."""

    def run(m: Model, x: Tensor) -> Tensor:
        return m.head(torch.tanh(m.words(x) + m.places(torch.arange(6).repeat(len(x), 1))).mean(1))

    return Model(run, words=nn.Embedding(9, 4), places=nn.Embedding(7, 4), head=nn.Linear(4, N_CLASSES))


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


class Scaled(nn.Embedding):
    """A table with a forward of its own, as Gemma's, or OPT's, whose positions begin at 2."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 3 * super().forward((inputs + 2).clamp(max=self.num_embeddings - 1))


class InParts(nn.Module):
    """Words as a product of two tables, in a container that never runs, as adapters of embeddings keep them."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ParameterDict({"long": torch.randn(9, 2), "wide": torch.randn(2, 4)})

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.embedding(inputs, self.parts["long"]) @ self.parts["wide"]


def placed(words: nn.Module, places: Callable[[Model, int], Tensor]) -> nn.Module:
    """Words and 6 positions, which are given for so many examples."""
    return Model(
        lambda m, x: m.head(torch.tanh(m.words(x) + places(m, len(x))).mean(1)),
        words=words,
        places=nn.Embedding(7, 4),
        head=nn.Linear(4, N_CLASSES),
    )


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
    # PROBED = 3 examples meet 3 positions here, so that the lengths alone tell nothing.
    "positions without a row": (lambda: positions(lambda at: at, 3), lambda: tokens(length=3)),
    "positions for each": (repeated, tokens),
    "positions repeated": (
        lambda: placed(Scaled(9, 4), lambda m, n: m.places(torch.arange(6))[None].expand(n, -1, -1)),
        tokens,
    ),
    "repeated positions": (lambda: placed(Scaled(9, 4), lambda m, n: m.places(torch.arange(6).expand(n, -1))), tokens),
    "words in parts": (lambda: placed(InParts(), lambda m, _: m.places(torch.arange(6))), tokens),
    "relative positions": (relative, sequences),
    "grid": (of_grid, images),
    "tied": (tied, tokens),
    "tied, padding": (lambda: tied(padding_idx=1), tokens),
    "tied twice": (tied_twice, tokens),
    "tied bias": (biased, vectors),
    "Conv1D of Hugging Face": (lambda: nn.Sequential(Conv1D(5, 6), nn.Tanh(), Conv1D(N_CLASSES, 5)), vectors),
    "own kinds": (of_own_kinds, sequences),
    "folded frames": (frames, sequences),
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

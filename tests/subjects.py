"""Small models and data for tests of attribution: random, but the same every time."""

from typing import Any

import torch
from torch import Tensor, nn

from trak_core.engine import Attributor

N_TRAIN, N_TEST, N_CLASSES = 37, 11, 4
Examples = tuple[Tensor, Tensor]


class SmallNet(nn.Module):
    """A network of 1 x 6 x 6 images with every common kind of layer: 4 logits, 577 parameters."""

    def __init__(self, n_classes: int = N_CLASSES) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.fc1 = nn.Linear(16, 25)
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(25, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu_(self.norm(self.conv(images))).flatten(1)
        return self.fc2(self.drop(torch.tanh(self.fc1(hidden))))


def make_net(seed: int = 0, n_classes: int = N_CLASSES) -> SmallNet:
    """A small network whose weights and BatchNorm statistics come from a seed."""
    generator = torch.Generator().manual_seed(seed)
    net = SmallNet(n_classes)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.4)
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return net


def make_checkpoints(n: int) -> list[dict[str, Tensor]]:
    """Weights of n small networks."""
    return [make_net(seed).state_dict() for seed in range(1, n + 1)]


def make_examples(n: int, seed: int) -> Examples:
    """n images and labels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 6, 6, generator=generator), torch.randint(N_CLASSES, (n,), generator=generator)


TRAIN, TEST = make_examples(N_TRAIN, 100), make_examples(N_TEST, 200)


def make_attributor(n_checkpoints: int = 2, **settings: Any) -> Attributor:
    """An attributor of the small network, not fitted, in float64 unless told otherwise."""
    chosen = {"precision": "float64", "progress": False, **settings}
    return Attributor(make_net(), checkpoints=make_checkpoints(n_checkpoints), **chosen)

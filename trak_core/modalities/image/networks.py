"""Networks for images: small ones that train in seconds on two CPU cores, and a residual one for a GPU.

None has BatchNorm or dropout: with either, what a model says of one example depends on others or on chance, and
"the gradient of an example" would mean nothing.
"""

from torch import Tensor, nn

HIDDEN = 128
GROUPS = 8


def small_mlp(n_inputs: int, n_classes: int) -> nn.Module:
    """One hidden layer of 128 units: `[n, ...]` with `n_inputs` numbers each to logits `[n, n_classes]`."""
    return nn.Sequential(nn.Flatten(), nn.Linear(n_inputs, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, n_classes))


class CompactCnn(nn.Module):
    """Two strided convolutions and a linear layer over a 4 x 4 grid of averages.

    Takes `[n, channels, height, width]` of any size of 8 pixels or more, gives logits `[n, n_classes]`.
    """

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, kernel_size=5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, n_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[n, n_classes]`."""
        logits: Tensor = self.layers(images)
        return logits


class ResNet9(nn.Module):
    """A residual network of nine layers, normalised within each example.

    Source: the architecture of David Page's "How to train your ResNet" (2018), with GroupNorm (Wu and He 2018) in
    the place of BatchNorm.
    """

    def __init__(self, channels: int, n_classes: int, width: int = 64) -> None:
        super().__init__()
        self.stem = _block(channels, width)
        self.first = nn.Sequential(_block(width, 2 * width), nn.MaxPool2d(2))
        self.first_residual = nn.Sequential(_block(2 * width, 2 * width), _block(2 * width, 2 * width))
        self.second = nn.Sequential(_block(2 * width, 4 * width), nn.MaxPool2d(2))
        self.third = nn.Sequential(_block(4 * width, 8 * width), nn.MaxPool2d(2))
        self.third_residual = nn.Sequential(_block(8 * width, 8 * width), _block(8 * width, 8 * width))
        self.head = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8 * width, n_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[n, n_classes]`."""
        rows = self.first(self.stem(images))
        rows = self.second(rows + self.first_residual(rows))
        rows = self.third(rows)
        logits: Tensor = self.head(rows + self.third_residual(rows))
        return logits


def _block(n_in: int, n_out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel_size=3, padding=1, bias=False), nn.GroupNorm(GROUPS, n_out), nn.GELU()
    )

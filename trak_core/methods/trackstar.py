"""TrackStar: cosines of gradients in which what all training examples have in common counts less.

    score(z, i) = cos( R^-1/2 grad L(z), R^-1/2 grad L_i ),    R = Phi^T Phi + damping I

with Phi the loss gradients of the train examples (Chang et al. 2024, "Scalable influence and fact tracing for large
language model pretraining", arXiv 2410.17413). Dividing both sides by their lengths keeps strong and unusual examples,
which pull hard whatever is asked, from the top of every list.

Left out of the paper are the second moments of the optimizer, by which it divides gradients first (no training log has
them), and the share of the test examples in R. Gradients are whole where that is affordable, else projected as for
TRAK; the paper projects them layer by layer. Only inner products are needed, so no root of R is ever taken:
`a^T R^-1 b` is the kernel of TRAK with loss gradients for features.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trak_core.errors import SingularKernelError
from trak_core.gradients import LayerGradients
from trak_core.methods.context import MethodContext, Need
from trak_core.methods.kernels import DEFAULT_RIDGE, RIDGES, CheckpointKernel
from trak_core.methods.method import MethodInfo, choose
from trak_core.methods.product import ProductScores, Term
from trak_core.projection import FeatureMap, SjltProjection, SketchMap
from trak_core.seeds import derive_seed


@MethodInfo(
    "trackstar",
    "TrackStar",
    "How alike two examples pull the model, where pulls that all training examples share count less.",
    needs=(Need.CHECKPOINTS,),
    max_checkpoints=5,
    has_ridge=True,
)
def trackstar(context: MethodContext) -> ProductScores:
    """The mean of the cosines at each checkpoint; the damping is chosen at the first of them."""
    first = _cosines(context, 0)

    def predict(ridge: float, masks: Tensor) -> Tensor:
        return ProductScores([first(ridge)]).predict(masks)

    ridge = choose(context, RIDGES, context.ridge, predict)
    if not ridge:
        raise SingularKernelError(
            f"ridge=0: cosines of method 'trackstar' need a damping; {DEFAULT_RIDGE:g} times the mean squared length "
            "of the gradients is usual."
        )
    further = (_cosines(context, index)(ridge) for index in range(1, len(context.states)))
    return ProductScores([first(ridge), *further], {"ridge": ridge})


def _cosines(context: MethodContext, index: int) -> Callable[[float], Term]:
    """The cosines at a checkpoint, for any ridge."""
    weights, rows, queries = context.states[index], context.gradients, context.query_gradients
    train, test, q = context.train, context.test, context.q(weights)
    if context.proj_dim is None:
        beside, plain = _Weighted(rows.whole_map), rows.whole(weights, train.inputs, train.targets)
        kernel = CheckpointKernel([torch.cat([plain, q[:, None]], dim=1)], beside, dual=True)
        asked = queries.whole(weights, test.inputs, test.targets)
        squares, lengths = rows.squared_norms(plain) * q**2, rows.squared_norms(asked)
        products = read = kernel.read([torch.cat([asked, torch.ones_like(asked[:, :1])], dim=1)])
    else:
        seed = derive_seed(context.seed, "trackstar projection", index)
        sketch = SketchMap(rows.layers, SjltProjection(context.proj_dim, seed))
        plain = torch.cat(list(rows.blocks(weights, train.inputs, train.targets, sketch))) * q[:, None]
        kernel = CheckpointKernel([plain], sketch, dual=False)
        read = torch.cat(list(queries.blocks(weights, test.inputs, test.targets, sketch)))
        squares, lengths, products = (plain**2).sum(1), (read**2).sum(1), read @ plain.T
    tiny = torch.finfo(read.dtype).tiny

    def cosines(ridge: float) -> Term:
        damping = (ridge * squares.mean()).clamp_min(tiny)
        found = kernel.attribute(read, ridge)
        # By Woodbury, `a^T R^-1 a` of a test example, and of a train example its leverage.
        of_test = (lengths - (found * products).sum(1)).clamp_min(0) / damping
        of_train = kernel.leverages(ridge)
        scale = of_test.clamp_min(tiny).rsqrt()[:, None]
        return Term(found * scale, None, of_train.clamp_min(tiny).rsqrt())

    return cosines


class _Weighted(FeatureMap):
    """Rows of another map, each with a factor behind it that its gradient counts times."""

    is_linear = False

    def __init__(self, inner: FeatureMap) -> None:
        self._inner = inner

    @property
    def width(self) -> int:
        """As in `FeatureMap`."""
        return self._inner.width + 1

    def rows(self, gradients: Sequence[LayerGradients]) -> tuple[Tensor, Tensor]:
        """As in `FeatureMap`, each gradient once."""
        rows, squares = self._inner.rows(gradients)
        return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1), squares

    def inner_products(self, left: Tensor, right: Tensor) -> Tensor:
        """As in `FeatureMap`."""
        return self._inner.inner_products(left[:, :-1], right[:, :-1]) * left[:, -1:] * right[:, -1]

    def direction(self, rows: Tensor, factors: Tensor) -> Tensor:
        """As in `FeatureMap`."""
        return self._inner.direction(rows[:, :-1], factors * rows[:, -1])

"""The random projection keeps inner products, and its seed is all that it needs."""

import pytest
import torch

from trak_core.errors import InvalidSettingError
from trak_core.projection import RademacherProjection


def gradients(n: int, n_parameters: int) -> torch.Tensor:
    return torch.randn(n, n_parameters, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def projected_product(g: torch.Tensor, seed: int) -> float:
    phi = RademacherProjection(300, 32, seed).project(g)
    return float(phi[0] @ phi[1])


def test_projected_inner_products_have_the_true_ones_as_mean():
    """Over 400 independent seeds the mean lies within 4 standard errors; a wrong scale would miss by far more."""
    g = gradients(2, 300)
    true = float(g[0] @ g[1])
    products = torch.tensor([projected_product(g, seed) for seed in range(400)])
    assert abs(products.mean() - true) < 4 * products.std() / 400**0.5
    assert abs(products.std() - g[0].norm() * g[1].norm() / 32**0.5) < 0.2 * products.std()


def test_a_seed_always_gives_the_same_projection_and_another_seed_another():
    g = gradients(3, 5000)
    first = RademacherProjection(5000, 16, 1).project(g)
    assert torch.equal(first, RademacherProjection(5000, 16, 1).project(g))
    assert not torch.equal(first, RademacherProjection(5000, 16, 2).project(g))


def test_signs_of_a_block_do_not_depend_on_what_was_drawn_before():
    """The last block of a long projection is the same whether or not the others were drawn."""
    projection = RademacherProjection(2 * RademacherProjection.BLOCK + 10, 8, 5)
    last = torch.zeros(1, projection.n_parameters, dtype=torch.float64)
    last[0, -1] = 1.0
    expected = projection._signs(2 * RademacherProjection.BLOCK)[-1].double() / 8**0.5
    torch.testing.assert_close(projection.project(last)[0], expected)


def test_blocks_have_signs_of_their_own():
    projection = RademacherProjection(2 * RademacherProjection.BLOCK, 8, 5)
    assert not torch.equal(projection._signs(0), projection._signs(RademacherProjection.BLOCK))


def test_gradients_of_another_model_are_refused():
    with pytest.raises(InvalidSettingError, match="7 columns, but the projection is for 6"):
        RademacherProjection(6, 4, 0).project(gradients(2, 7))


def test_an_empty_projection_is_refused():
    with pytest.raises(InvalidSettingError, match="proj_dim=0"):
        RademacherProjection(6, 0, 0)

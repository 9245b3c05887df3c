"""The curvature of the loss: whole, by products, or in a form that functions of it are cheap to apply in."""

from trak_core.curvature.ekfac import EkfacFactors, damped_inverse, fit_ekfac
from trak_core.curvature.gauss_newton import (
    conjugate_gradients,
    fisher_matrix,
    gauss_newton_products,
    pseudo_gradients,
    solve_damped,
)

__all__ = [
    "EkfacFactors",
    "conjugate_gradients",
    "damped_inverse",
    "fisher_matrix",
    "fit_ekfac",
    "gauss_newton_products",
    "pseudo_gradients",
    "solve_damped",
]

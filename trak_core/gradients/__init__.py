"""Per-example gradients of the model output, and inner products of them."""

from trak_core.gradients.factored import gradient_factors, gradient_path, inner_products
from trak_core.gradients.functional import per_example_gradients
from trak_core.gradients.representations import representations

__all__ = ["gradient_factors", "gradient_path", "inner_products", "per_example_gradients", "representations"]

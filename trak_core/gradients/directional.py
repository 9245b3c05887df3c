"""What forward derivatives (derivatives in a direction, Jacobian times vector) need of a model besides reverse ones."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel

from trak_core.errors import InvalidModelError


@contextmanager
def forward_derivatives(method: str) -> Iterator[None]:
    """Where `torch.func.jvp` of a model may be taken.

    Attention is computed by plain products here, because the fused kernels have no forward derivative.

    Args:
        method: that needs the derivative, for the message.

    Raises:
        InvalidModelError: the model has an operation without a forward derivative.
    """
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    except NotImplementedError as error:
        raise InvalidModelError(
            f"the model has an operation without a forward derivative ({str(error).splitlines()[0]}), which {method} "
            "takes; use influence_ekfac, which takes none."
        ) from error

"""What kind of inputs a model was fitted on, so that inputs of another kind are refused."""

from dataclasses import dataclass

from torch import Tensor
from torch.utils._pytree import tree_flatten_with_path

from trak_core.errors import ShapeMismatchError
from trak_core.subjects.batches import Batch


@dataclass(frozen=True)
class Signature:
    """Shapes of the inputs of one example, by name."""

    # name of each input to its shape; a whole-number input, such as token numbers, may vary in length
    shapes: dict[str, tuple[int | str, ...]]

    @classmethod
    def of(cls, batch: Batch) -> "Signature":
        """The signature of the inputs of a batch."""
        leaves, _ = tree_flatten_with_path(batch.inputs)
        return cls({"".join(map(str, path)): _shape(leaf) for path, leaf in leaves})

    def check(self, batch: Batch) -> None:
        """Refuses a batch of another kind.

        Raises:
            ShapeMismatchError: inputs differ in name, shape or kind; the message has both.
        """
        other = Signature.of(batch)
        if other == self:
            return
        raise ShapeMismatchError(
            f"test inputs are {_words(other.shapes)} for each example, but train inputs were {_words(self.shapes)}; "
            "prepare both in the same way."
        )


def _shape(leaf: Tensor) -> tuple[int | str, ...]:
    if leaf.is_floating_point():
        return tuple(leaf.shape[1:])
    return ("whole numbers", leaf.dim())


def _words(shapes: dict[str, tuple[int | str, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}".strip() for name, shape in shapes.items())

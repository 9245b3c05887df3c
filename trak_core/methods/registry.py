"""The methods by name, with the words that pages and tables use for them."""

from dataclasses import dataclass

__all__ = ["METHODS", "MethodInfo"]


@dataclass(frozen=True)
class MethodInfo:
    """What people read about a method.

    Attributes:
        name: the key in columns, addresses and the command line.
        title: the name on pages.
        description: one plain sentence.
        is_baseline: True for methods that use no gradients; real attribution must beat them.
    """

    name: str
    title: str
    description: str
    is_baseline: bool


METHODS = {
    info.name: info
    for info in (
        MethodInfo("trak", "TRAK", "Gradients of the model, averaged over independently trained checkpoints.", False),
        MethodInfo(
            "embedding",
            "Embedding similarity",
            "How alike the model's inner views of two examples are.",
            True,
        ),
        MethodInfo("same_class", "Same class", "1 for every training example of the asked class, else 0.", True),
        MethodInfo("random", "Random", "Random numbers: what no information at all looks like.", True),
    )
}

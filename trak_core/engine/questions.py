"""What is asked of an `Attributor`: test examples block by block, each with its target."""

from collections.abc import Iterator

from torch import Tensor

from trak_core.engine.fitted import Fitted, Question
from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.subjects.batches import Block, Data


def iter_questions(fitted: Fitted, data: Data, targets: Tensor | None) -> Iterator[Question]:
    """Blocks of test examples, small enough for their scores to take an eighth of the memory budget.

    Args:
        fitted: what is known of the train examples.
        data: the test examples.
        targets: what to ask about each `[n_test, ...]`; None for its label, or else the model's own answer.

    Raises:
        ShapeMismatchError: test examples have another shape or kind than train examples.
        InvalidSettingError: there are more or fewer targets than test examples.
        InvalidDataError: there are no labels, and the task has no answer of its own.
    """
    size = max(1, min(fitted.block_size, fitted.options.memory_budget // 8 // (fitted.n_train * 4)))
    seen = 0
    for block in data.blocks(size):
        seen += len(block)
        if targets is not None and len(targets) < seen:
            break
        fitted.check_inputs(block)
        yield block, _default(fitted, block) if targets is None else targets[block.start : seen]
    if targets is not None and len(targets) != seen:
        raise InvalidSettingError(
            f"targets holds {len(targets)} entries, but there are {'more' if len(targets) < seen else seen} test "
            "examples; give one entry for each."
        )


def _default(fitted: Fitted, block: Block) -> Tensor:
    """The labels of a block, or the model's own answers."""
    if block.labels is not None:
        return block.labels
    if (answer := fitted.answer(block)) is not None:
        return answer.value
    raise InvalidDataError(
        f"test has no labels, and task {fitted.task.name!r} has no answer of its own to explain; give targets=..."
    )

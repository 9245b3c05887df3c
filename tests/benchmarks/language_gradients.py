"""Gradients of language models: are they right, what do they cost, and do the tokens of a text add up?

    python -m tests.benchmarks.language_gradients [KIND ...]

For each kind of model in `tests/language_models.py`, with random weights and texts of 32 to 64 tokens, on one core:

- the largest difference of a gradient to that of a backward pass for each example, relative to its layer's largest;
- the same between a text alone, without padding, and among others with 20 tokens of padding more;
- the largest difference between a score and what the tokens carry of it, relative to the largest score;
- CPU seconds of featurizing (gradients and SJLT to 2,048) as a multiple of a plain forward and backward pass of the
  same batch in the same run;
- CPU milliseconds for what the tokens of 10 texts carry, from a row of features on.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tests.benchmarks.core_report import Report
from tests.language_models import LANGUAGE_MODELS, Batch, LanguageModel, Size, padded
from trak_core.gradients import GradientComputer, find_layers, form, n_parameters
from trak_core.gradients.functional import loop_gradients
from trak_core.projection import make_feature_map

SIZE = Size(n_words=1000, width=64, longest=96)
N, SHORTEST, LONGEST = 32, 32, 64
N_COMPARED = 8
PROJ_DIM = 2048
ROUNDS = 5
N_SHOWN = 10
"""Passages that the explorer marks at once."""


def measure(report: Report, name: str, kind: LanguageModel) -> None:
    """Prints and judges the figures of one kind of model."""
    report.section(name)
    model = kind.made(SIZE)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (N,), generator=torch.Generator().manual_seed(0)).tolist()
    lengths[0] = LONGEST
    batch = kind.batch(SIZE, lengths)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    layers = find_layers(model)
    computer = GradientComputer(model, kind.task, layers)
    computer.choose(weights, batch.inputs, batch.targets)
    features = make_feature_map("sjlt", layers, computer.factored, PROJ_DIM, 0)
    whole = sum(each.numel() for each in model.parameters())
    report.say(f"{n_parameters(layers):,} of {whole:,} parameters, gradients by {computer.path} ({computer.reason})")

    def gradients(part: Batch) -> list[Tensor]:
        return [form(each).T for each in computer.compute(weights, part.inputs, part.targets).layers]

    few = batch[:N_COMPARED]
    _, looped = loop_gradients(model, weights, layers, kind.task, few.inputs, few.targets)
    expected = [each.values for each in looped]
    report.check(f"{name}: gradients, difference to a loop", _apart(gradients(few), expected), "at most", 1e-4)

    longer = [part[:N_COMPARED] for part in gradients(padded(batch, 20))]
    alone = [gradients(_alone(few, i, lengths[i])) for i in range(N_COMPARED)]
    report.check(
        f"{name}: padding and company",
        _apart(longer, [torch.cat(each) for each in zip(*alone, strict=True)]),
        "at most",
        1e-5,
    )

    rows = features.rows(computer.compute(weights, batch.inputs, batch.targets).layers)[0]
    direction = features.direction(rows[1:2], rows.new_ones(1))
    carried = computer.by_token(weights, batch.inputs, batch.targets, direction)
    report.check(f"{name}: tokens against scores", _apart([carried.total], [rows @ rows[1]]), "at most", 1e-4)

    def plain(part: Batch) -> None:
        model.zero_grad(set_to_none=True)
        kind.task.model_output(kind.task.outputs_of(model, part.inputs), part.targets).sum().backward()

    def featurize(part: Batch) -> None:
        features.rows(computer.compute(weights, part.inputs, part.targets).layers)

    def mark(part: Batch) -> None:
        found = features.direction(rows[1:2], rows.new_ones(1))
        computer.by_token(weights, part.inputs, part.targets, found)

    short = kind.batch(SIZE, [length // 3 for length in lengths])
    passes, features_of, passes_short, features_short, marks = _cpu_seconds(
        *(partial(work, part) for part in (batch, short) for work in (plain, featurize)), partial(mark, batch[:N_SHOWN])
    )
    report.check(f"{name}: featurizing / forward and backward", features_of / passes, "at most", 4, "x")
    report.say(f"texts of a third of that length: {features_short / passes_short:.2f}x")
    report.say(f"{N / features_of:,.0f} examples a CPU second; forward and backward alone {N / passes:,.0f}")
    report.check(f"{name}: tokens of {N_SHOWN} passages", 1e3 * marks, "at most", 100, " ms")


def _alone(batch: Batch, i: int, length: int) -> Batch:
    """One text without padding."""
    one = batch[i : i + 1]
    n_labels = int((one.inputs["labels"] >= 0).sum()) if "labels" in one.inputs else 0
    inputs = {key: part[:, : n_labels if key == "labels" else length] for key, part in one.inputs.items()}
    return Batch(inputs, one.targets[:, :n_labels] if one.targets.dim() > 1 else one.targets)


def _apart(given: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, relative to the largest number of the same layer."""
    pairs = zip(given, expected, strict=True)
    return max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)


def _cpu_seconds(*works: Callable[[], object]) -> list[float]:
    """CPU seconds of each, the least of some rounds that take turns."""
    rounds = []
    for _ in range(ROUNDS + 1):  # the first, in which memory is taken, does not count
        seconds = []
        for work in works:
            began = time.process_time()
            work()
            seconds.append(time.process_time() - began)
        rounds.append(seconds)
    return [min(each) for each in zip(*rounds[1:], strict=True)]


def main(names: list[str]) -> int:
    """Measures the kinds of these names, or all; returns the exit status."""
    if unknown := sorted(set(names) - set(LANGUAGE_MODELS)):
        sys.exit(f"there is no {', '.join(unknown)}; kinds are {', '.join(LANGUAGE_MODELS)}")
    torch.set_num_threads(1)
    report = Report()
    for name in names or LANGUAGE_MODELS:
        measure(report, name, LANGUAGE_MODELS[name])
    return 0 if report.finish() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

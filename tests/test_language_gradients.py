"""Gradients of language models, and what each token carries of them."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from tests.language_models import LANGUAGE_MODELS, MODELS_WITH_WAYS_OF_THEIR_OWN, Batch, Size, padded
from trak_core.errors import InvalidDataError, InvalidModelError, InvalidSettingError
from trak_core.gradients import (
    Direction,
    GradientComputer,
    StateDict,
    TokenContributions,
    find_layers,
    form,
    n_parameters,
)
from trak_core.gradients.functional import loop_gradients
from trak_core.projection import make_feature_map
from trak_core.tasks import Classification

pytest.importorskip("transformers", reason="language models need the package transformers")
pytest.importorskip("peft", reason="adapters need the package peft")

SIZE = Size()
LENGTHS = [9, 4, 11, 6, 7]
EXACT = 1e-10
"""float64, relative to the largest number."""


class Ready:
    """A model of a kind, a batch, and gradients of it."""

    def __init__(self, name: str, patterns: str | None = None) -> None:
        self.kind = {**LANGUAGE_MODELS, **MODELS_WITH_WAYS_OF_THEIR_OWN}[name]
        self.model = self.kind.made(SIZE).double()
        self.batch = self.kind.batch(SIZE, LENGTHS)
        self.weights: StateDict = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.layers = find_layers(self.model, patterns)
        self.computer = GradientComputer(self.model, self.kind.task, self.layers, "float64")
        self.computer.choose(self.weights, self.batch.inputs, self.batch.targets)

    def by_token(self, direction: Direction, batch: Batch | None = None) -> TokenContributions:
        batch = batch or self.batch
        return self.computer.by_token(self.weights, batch.inputs, batch.targets, direction)

    def gradients(self, batch: Batch | None = None) -> Tensor:
        """`[n, n_parameters]`."""
        batch = batch or self.batch
        given = self.computer.compute(self.weights, batch.inputs, batch.targets)
        return torch.cat([form(each).T for each in given.layers], dim=1)

    def by_loop(self) -> Tensor:
        """The same by a backward pass for each example."""
        task, batch = self.kind.task, self.batch
        _, given = loop_gradients(self.model, self.weights, self.layers, task, batch.inputs, batch.targets)
        return torch.cat([each.values for each in given], dim=1)

    def direction(self, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n_parameters(self.layers), generator=generator).to(self.computer.dtype)


ready_once = cache(Ready)


def assert_near(one: Tensor, other: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance * float(other.abs().max()))


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_gradients_of_all_examples_at_once_are_those_of_a_loop_over_them(name: str):
    ready = ready_once(name)
    assert ready.computer.path == "hooks", ready.computer.reason
    gradients, expected = ready.gradients(), ready.by_loop()
    for layer in ready.layers:
        part = slice(layer.start, layer.start + layer.size)
        assert_near(gradients[:, part], expected[:, part], EXACT)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5", "mT5", "LoRA on GPT-2", "LoRA on BERT"])
def test_neither_padding_nor_company_changes_gradients(name: str):
    """Each text alone without padding, and among all others with 20 tokens of padding more."""
    ready = ready_once(name)
    together = ready.gradients(padded(ready.batch, 20))
    for i, length in enumerate(LENGTHS):
        texts = ready.kind.batch(SIZE, LENGTHS)[i : i + 1]
        shorter = {key: part[:, :length] for key, part in texts.inputs.items() if key != "labels"}
        if "labels" in texts.inputs:
            n_labels = int((texts.inputs["labels"] >= 0).sum())
            shorter["labels"] = texts.inputs["labels"][:, :n_labels]
            texts = Batch(shorter, texts.targets[:, :n_labels])
        alone = ready.gradients(Batch(shorter, texts.targets))
        assert_near(together[i : i + 1], alone, 1e-6)


@pytest.mark.parametrize("has_labels", [True, False])
def test_padding_may_come_first_where_positions_count_from_each_other(has_labels: bool):
    """The first token of a text is not told from padding."""
    ready = Ready("Llama")
    alone = ready.batch[1:2]
    length = LENGTHS[1]
    short = {key: part[:, :length] for key, part in alone.inputs.items() if has_labels or key != "labels"}
    asked = alone.targets[:, :length]
    fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    padded_first = {key: torch.nn.functional.pad(part, (5, 0), value=fill[key]) for key, part in short.items()}
    later = torch.nn.functional.pad(asked, (5, 0), value=-100)
    expected = ready.gradients(Batch(short, asked))
    assert_near(ready.gradients(Batch(padded_first, later)), expected, 1e-6)


@pytest.mark.parametrize("name", MODELS_WITH_WAYS_OF_THEIR_OWN)
def test_layers_with_ways_of_their_own_go_all_at_once_too(name: str):
    """And their tokens add up; whatever comes with as many examples as there are tokens is no less right."""
    ready = Ready(name)
    assert ready.computer.path == "hooks", ready.computer.reason
    gradients, expected = ready.gradients(), ready.by_loop()
    assert_near(gradients, expected, 1e-7)  # the norm of Gemma computes in float32
    direction = ready.direction()
    assert_near(ready.by_token(direction).total, expected @ direction, 1e-7)
    ready.batch = ready.kind.batch(SIZE, [8] * 8)
    assert_near(ready.gradients(), ready.by_loop(), 1e-7)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5"])
def test_attention_masks_go_through_vmap_though_models_ask_whether_they_hide_anything(name: str):
    """The longest text has nothing to hide, so that its way is another."""
    ready = Ready(name)
    ready.computer.choose(ready.weights, ready.batch.inputs, ready.batch.targets, "functional")
    assert ready.computer.path == "functional"
    assert_near(ready.gradients(), ready.by_loop(), EXACT)


@pytest.mark.parametrize("name", ["LoRA on GPT-2", "DoRA on GPT-2", "LoRA on BERT", "LoRA on T5"])
def test_only_adapters_are_differentiated_where_the_base_is_frozen(name: str):
    ready = ready_once(name)
    kept = ("lora_", "modules_to_save", "score", "classifier")
    assert all(any(part in key for part in kept) for layer in ready.layers for key in layer.parameters)
    trained = sum(each.numel() for each in ready.model.parameters() if each.requires_grad)
    assert n_parameters(ready.layers) == trained < sum(each.numel() for each in ready.model.parameters()) / 3


# --- what tokens carry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_what_tokens_carry_adds_up_to_the_inner_product_of_gradients(name: str):
    """With a direction of parameters, and with a row of projected features."""
    ready = ready_once(name)
    inputs, targets = ready.batch.inputs, ready.batch.targets
    direction, expected = ready.direction(), ready.by_loop()
    carried = ready.by_token(direction)
    assert carried.inputs.shape == inputs["input_ids"].shape
    assert_near(carried.total, expected @ direction, EXACT)
    made = make_feature_map("sjlt", ready.layers, frozenset(), 64, 0)
    rows, _ = made.rows(ready.computer.compute(ready.weights, inputs, targets).layers)
    carried = ready.by_token(made.direction(rows[1:2], rows.new_ones(1)))
    assert_near(carried.total, rows @ rows[1], EXACT)


@pytest.mark.parametrize("name", ["T5", "DoRA on GPT-2"])
def test_sums_over_tokens_hold_where_the_model_runs_in_half_precision(name: str):
    """Both sides have the same activations, in bfloat16, and multiply them in float32."""
    kind = LANGUAGE_MODELS[name]
    model, batch = kind.made(SIZE), kind.batch(SIZE, LENGTHS)
    weights, layers = dict(model.state_dict()), find_layers(model)
    computer = GradientComputer(model, kind.task, layers, "bfloat16")
    computer.choose(weights, batch.inputs, batch.targets)
    direction = torch.randn(n_parameters(layers), generator=torch.Generator().manual_seed(0))
    gradients = computer.compute(weights, batch.inputs, batch.targets).layers
    expected = torch.cat([form(each).T for each in gradients], dim=1) @ direction
    carried = computer.by_token(weights, batch.inputs, batch.targets, direction)
    assert_near(carried.total, expected, 1e-2)


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "BERT", "T5", "mT5", "DoRA on GPT-2"])
def test_padding_carries_nothing_and_changes_nothing(name: str):
    ready = ready_once(name)
    direction = ready.direction()
    carried = ready.by_token(direction)
    more = padded(ready.batch, 20)
    longer = ready.by_token(direction, more)
    assert_near(longer.inputs[:, : max(LENGTHS)], carried.inputs, 1e-9)
    is_padding = torch.arange(longer.inputs.shape[1]) >= torch.tensor(LENGTHS)[:, None]
    assert float(longer.inputs[is_padding].abs().max()) < 1e-12 * float(carried.inputs.abs().max())
    if carried.decoder is not None and longer.decoder is not None:
        assert_near(longer.decoder[:, : carried.decoder.shape[1]], carried.decoder, 1e-9)


@pytest.mark.parametrize(
    ("name", "table"), [("Llama", "model.embed_tokens.weight"), ("T5", "shared.weight"), ("BERT", "bert.embeddings*")]
)
def test_the_embedding_of_a_word_is_carried_where_the_word_is_read(name: str, table: str):
    ready = Ready(name, patterns=table)
    ids = ready.batch.inputs["input_ids"]
    word = int(ids[0, 2])
    key = ready.layers[0].parameters[0]
    direction = torch.zeros_like(ready.weights[key])
    direction[word] = torch.randn(SIZE.width)
    carried = ready.by_token({key: direction})
    assert bool((carried.inputs[ids == word] != 0).all())
    assert bool((carried.inputs[ids != word] == 0).all())


def test_the_embedding_of_a_position_is_carried_there():
    """GPT-2 looks positions up once for all examples."""
    ready = ready_once("GPT-2")
    direction = torch.zeros_like(ready.weights["transformer.wpe.weight"])
    direction[1] = torch.randn(SIZE.width)
    named = {"transformer.wpe.weight": direction}
    carried = ready.by_token(named).inputs
    assert bool((carried[:, 1] != 0).all())
    assert not carried[:, torch.arange(carried.shape[1]) != 1].any()


@pytest.mark.parametrize(
    ("name", "module", "decodes"),
    [
        ("GPT-2", "transformer.h.0.mlp.c_fc", False),
        ("Llama", "model.layers.1.input_layernorm", False),
        ("T5", "encoder.block.1.layer.0.SelfAttention.q", False),
        ("T5", "decoder.block.1.layer.0.SelfAttention.v", True),
        ("T5", "decoder.block.1.layer.1.EncDecAttention.k", False),
        ("T5", "decoder.block.0.layer.1.EncDecAttention.q", True),
        ("mT5", "decoder.final_layer_norm", True),
        ("DoRA on GPT-2", "base_model.model.transformer.h.1.attn.c_attn.lora_magnitude_vector.default", False),
    ],
)
def test_a_position_carries_what_its_own_copy_of_a_layer_would(name: str, module: str, decodes: bool):
    """Autograd finds the gradient of weights that are used at one position alone. Encoder and decoder are as long."""
    ready = Ready(name)
    torch.manual_seed(1)
    if name in ("T5", "mT5"):
        labels = torch.randint(3, SIZE.n_words, ready.batch.inputs["input_ids"].shape)
        ready.batch = Batch({**ready.batch.inputs, "labels": labels}, labels)
    used = ready.model.get_submodule(module)
    direction = {key: torch.randn(part.shape).double() for key, part in used.named_parameters(recurse=False)}
    carried = ready.by_token({f"{module}.{key}": part for key, part in direction.items()})
    found, other = (carried.decoder, carried.inputs) if decodes else (carried.inputs, carried.decoder)
    assert found is not None
    assert other is None or not other.any()
    for position in (0, 2):
        assert_near(found[:, position], of_copy(ready, used, direction, position), EXACT)


def of_copy(ready: Ready, used: nn.Module, direction: dict[str, Tensor], position: int) -> Tensor:
    """Inner products `[n]` of a direction and the gradient of a copy of a layer that runs at one position alone."""
    copies = {key: part.detach().clone().requires_grad_() for key, part in used.named_parameters(recurse=False)}
    plain: Callable[..., Tensor] = used.forward

    def forward(*args: object, **kwargs: object) -> Tensor:
        output, held = plain(*args, **kwargs), dict(used._parameters)
        try:
            used._parameters.update(copies)  # type: ignore[arg-type]
            there = plain(*args, **kwargs)
        finally:
            used._parameters.update(held)
        is_there = torch.arange(output.shape[1]) == position
        return torch.where(is_there[:, None], there, output)

    used.forward = forward  # type: ignore[method-assign]
    try:
        task, batch = ready.kind.task, ready.batch
        f = task.model_output(task.outputs_of(ready.model, batch.inputs), batch.targets)
    finally:
        del used.forward
    gradients = [torch.autograd.grad(each, list(copies.values()), retain_graph=True) for each in f]
    products = [[(part * direction[key]).sum() for key, part in zip(copies, row, strict=True)] for row in gradients]
    return torch.tensor(products, dtype=torch.float64).sum(1)


def test_what_belongs_to_no_position_is_spread_over_the_tokens_and_said():
    """The head of BERT reads what was pooled."""
    ready = Ready("BERT", patterns="classifier*")
    direction, expected = ready.direction(), ready.by_loop()
    carried = ready.by_token(direction)
    assert_near(carried.spread, expected @ direction, EXACT)
    for row, length, total in zip(carried.inputs, LENGTHS, carried.spread, strict=True):
        assert_near(row, torch.where(torch.arange(len(row)) < length, total / length, 0.0), EXACT)


def test_a_direction_that_does_not_fit_is_refused():
    ready = ready_once("GPT-2")
    n = n_parameters(ready.layers)
    with pytest.raises(InvalidSettingError, match=rf"direction has shape \(3,\); it must be \({n},\)"):
        ready.by_token(torch.zeros(3))
    with pytest.raises(InvalidSettingError, match=r"direction\['wte'\] has shape \(2,\); it must be one of"):
        ready.by_token({"wte": torch.zeros(2)})


def test_models_without_positions_are_told_so():
    model = nn.Embedding(4, 3)
    weights, ids, labels = dict(model.state_dict()), torch.arange(4), torch.arange(4) % 3
    computer = GradientComputer(model, Classification("numbers"), find_layers(model))
    with pytest.raises(InvalidModelError, match="call choose"):
        computer.by_token(weights, ids, labels, torch.zeros(12))
    computer.choose(weights, ids, labels)
    with pytest.raises(InvalidDataError, match="need inputs with positions"):
        computer.by_token(weights, ids, labels, torch.zeros(12))

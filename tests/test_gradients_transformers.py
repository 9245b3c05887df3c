"""Gradients of Hugging Face models as people have them, against one backward pass for each example, in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import trak_core as tc
from trak_core.curvature import damped_inverse, fit_ekfac
from trak_core.gradients import GradientComputer, Inputs, LayerGradients, count, find_layers, form, take
from trak_core.projection import make_feature_map
from trak_core.tasks import Classification, CustomTask, Task

transformers = pytest.importorskip("transformers", reason="Hugging Face models need the package transformers")

N, LENGTH, N_WORDS, N_CLASSES = 5, 7, 50, 3
TOLERANCE = 1e-10
"""float64, relative to the largest number of a layer: what differs is only the order of sums."""
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def log_likelihood(outputs: Tensor, asked: Tensor) -> Tensor:
    is_asked = torch.arange(outputs.shape[-1]) == asked[..., None]
    return (outputs.log_softmax(-1) * is_asked).sum((1, 2))


def constant(outputs: Tensor, asked: Tensor) -> Tensor:
    return outputs.new_ones(len(asked))


def similarity(model: Callable[..., Any], inputs: Inputs) -> Tensor:
    """Of each picture and its own text, whatever others are in the batch."""
    similarities: Tensor = model(**inputs).logits_per_image
    return similarities.diagonal()


CLASSES = Classification("text")
WORDS = CustomTask(log_likelihood, constant, "words", "text")
PAIRS = CustomTask(lambda outputs, _: outputs, constant, "pairs", outputs_function=similarity)


@dataclass(frozen=True)
class Case:
    """A model with inputs, and what is asked of them."""

    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Tensor]]
    task: Task
    way: str = "hooks"
    patterns: tuple[str, ...] | None = None


def sentences() -> dict[str, Tensor]:
    """Sentences of several lengths, padded at their end."""
    mask = (torch.arange(LENGTH) < torch.tensor([7, 3, 5, 1, 6])[:, None]).long()
    return {"input_ids": torch.randint(1, N_WORDS, (N, LENGTH)) * mask, "attention_mask": mask}


def passages() -> dict[str, Tensor]:
    return {"input_ids": torch.randint(1, N_WORDS, (N, LENGTH))}


def translations() -> dict[str, Tensor]:
    return {**sentences(), "decoder_input_ids": torch.randint(1, N_WORDS, (N, LENGTH))}


def pictures() -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(N, 3, 8, 8, dtype=torch.float64)}


def gpt2(name: str, **settings: Any) -> Callable[[], nn.Module]:
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 12, "vocab_size": N_WORDS}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "num_labels": N_CLASSES}
    return lambda: getattr(transformers, name)(transformers.GPT2Config(**sizes, **special, **settings))


def bert(name: str) -> Callable[[], nn.Module]:
    config = {"vocab_size": N_WORDS, "max_position_embeddings": 12, "num_labels": N_CLASSES}
    return lambda: getattr(transformers, name)(transformers.BertConfig(**SMALL, **config))


def t5(**settings: Any) -> Callable[[], nn.Module]:
    sizes = {"vocab_size": N_WORDS, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    special = {"relative_attention_num_buckets": 8, "decoder_start_token_id": 0}
    return lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, **special, **settings))


def albert() -> nn.Module:
    config = transformers.AlbertConfig(vocab_size=N_WORDS, embedding_size=8, num_labels=N_CLASSES, **SMALL)
    return transformers.AlbertForSequenceClassification(config)


def llama() -> nn.Module:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=N_WORDS, **SMALL))


def vit() -> nn.Module:
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(image_size=8, patch_size=4, num_labels=N_CLASSES, **SMALL)
    )


def clip() -> nn.Module:
    texts = {**SMALL, "vocab_size": N_WORDS, "max_position_embeddings": 12, "eos_token_id": 2, "bos_token_id": 0}
    images = {**SMALL, "image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(text_config=texts, vision_config=images, projection_dim=8)
    return transformers.CLIPModel(config)


CASES = {
    "GPT-2, classes": Case(gpt2("GPT2ForSequenceClassification"), sentences, CLASSES),
    "GPT-2, words, tied": Case(gpt2("GPT2LMHeadModel"), sentences, WORDS),
    "GPT-2, words, no mask": Case(gpt2("GPT2LMHeadModel", attn_implementation="eager"), passages, WORDS),
    "BERT, classes": Case(bert("BertForSequenceClassification"), sentences, CLASSES),
    "BERT, words, tied weight and bias": Case(bert("BertForMaskedLM"), sentences, WORDS),
    "T5, tied": Case(t5(), translations, WORDS),
    "T5, untied, eager": Case(t5(tie_word_embeddings=False, attn_implementation="eager"), translations, WORDS),
    "ALBERT, one layer many times": Case(albert, sentences, CLASSES),
    "Llama, norms of its own": Case(llama, passages, WORDS),
    "ViT, bare parameters": Case(vit, pictures, CLASSES),
    "CLIP, other outputs": Case(
        clip, lambda: {**pictures(), **passages()}, PAIRS, patterns=("text*", "vision*", "visual*")
    ),
    "CLIP, whole": Case(clip, lambda: {**pictures(), **passages()}, PAIRS, "functional"),
}


def made(name: str) -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    """A model in float64 with no weight at its initial value, inputs, and what is asked."""
    torch.manual_seed(0)
    case = CASES[name]
    model, inputs = case.build().double().eval(), case.inputs()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    asked = torch.randint(0, N_WORDS, (N, LENGTH)) if case.task is WORDS else torch.arange(N) % N_CLASSES
    return model, inputs, asked


def computer_of(name: str, model: nn.Module, inputs: Inputs, asked: Tensor, way: str = "auto") -> GradientComputer:
    case = CASES[name]
    layers = find_layers(model, case.patterns)
    computer = GradientComputer(model, case.task, layers, "float64")
    computer.choose({key: value.clone() for key, value in model.state_dict().items()}, inputs, asked, way)
    return computer


def backward_gradients(model: nn.Module, task: Task, inputs: Inputs, asked: Tensor) -> list[dict[str, Tensor]]:
    """Gradients of each parameter, for each example a forward and a backward pass of its own."""
    read = task.outputs_of
    examples = []
    for i in range(count(inputs)):
        model.zero_grad()
        one = slice(i, i + 1)
        task.model_output(read(model, take(inputs, one)), asked[one]).sum().backward()
        named = model.named_parameters()
        examples.append(
            {key: torch.zeros_like(each) if each.grad is None else each.grad.clone() for key, each in named}
        )
    return examples


def whole(layer: LayerGradients, examples: list[dict[str, Tensor]]) -> Tensor:
    """What a backward pass for each example gives for a layer, `[n, size]`, a row of its matrix after another."""
    rows = []
    for example in examples:
        parts = [example[name] for name in layer.layer.parameters]
        if layer.layer.transposed:
            parts[0] = parts[0].T
        if layer.layer.kind == "matrix":
            parts = [torch.cat([part.reshape(layer.layer.n_rows, -1) for part in parts], dim=1)]
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_one_backward_pass_an_example(name: str):
    model, inputs, asked = made(name)
    computer = computer_of(name, model, inputs, asked)
    gradients = computer.compute(model.state_dict(), inputs, asked)
    examples = backward_gradients(model, CASES[name].task, inputs, asked)
    assert computer.path == CASES[name].way, computer.reason
    for each in gradients.layers:
        expected = whole(each, examples)
        largest = float(expected.abs().max())
        assert largest > 0
        torch.testing.assert_close(form(each).T, expected, rtol=0, atol=TOLERANCE * largest, msg=each.layer.name)
    # A shared parameter is one: each counts once.
    assert sum(each.layer.size for each in gradients.layers) == sum(
        each.numel()
        for key, each in model.named_parameters()
        if CASES[name].patterns is None or key in {part for layer in computer.layers for part in layer.parameters}
    )


@pytest.mark.parametrize("name", CASES)
def test_gradients_do_not_depend_on_the_batch(name: str):
    """Neither of one example alone nor of more than the ways were tried on."""
    model, inputs, asked = made(name)
    computer = computer_of(name, model, inputs, asked)
    together = computer.compute(model.state_dict(), inputs, asked).layers
    for part in (slice(0, 1), slice(1, 5)):
        apart = computer.compute(model.state_dict(), take(inputs, part), asked[part]).layers
        for one, all_of_them in zip(apart, together, strict=True):
            expected = form(all_of_them)[:, part]
            scale = float(form(all_of_them).abs().max())
            torch.testing.assert_close(form(one), expected, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("name", ["GPT-2, words, tied", "T5, tied"])
@pytest.mark.parametrize("kind", ["none", "sjlt", "kronecker"])
def test_projections_see_the_same_gradients_by_hooks_and_by_a_loop(kind: str, name: str):
    model, inputs, asked = made(name)
    rows = []
    for way in ("hooks", "loop"):
        computer = computer_of(name, model, inputs, asked, way)
        made_map = make_feature_map(kind, computer.layers, frozenset(), 300, 0)
        rows.append(made_map.rows(computer.compute(model.state_dict(), inputs, asked).layers)[0])
    torch.testing.assert_close(*rows, rtol=1e-9, atol=1e-12 * float(rows[1].abs().max()))


def test_ekfac_of_gpt2_is_the_same_whether_its_layers_come_as_factors_or_whole():
    """Conv1D layers have a basis on both sides; eigenvalues in it are means of squares of gradients."""
    name = "GPT-2, classes"
    model, inputs, asked = made(name)
    computer = computer_of(name, model, inputs, asked)
    weights = dict(model.state_dict())
    factors = fit_ekfac(computer, [weights], inputs, seed=0, draws=None)
    gradients = computer.compute(weights, inputs, asked)
    by_kind = {each.layer.name: each for each in factors.layers}
    attention = by_kind["transformer.h.0.attn.c_attn"]
    assert attention.rows is not None
    assert (len(attention.rows), len(attention.columns)) == (48, 17)
    rows = torch.cat([form(each).T for each in gradients.layers], dim=1)
    turned = factors.rotate(gradients.layers)
    torch.testing.assert_close(turned, factors.rotate_rows(rows), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(factors.rotate_back(turned), rows, rtol=1e-9, atol=1e-12)
    influence = factors.score(factors.filter(turned, damped_inverse(0.1)), gradients.layers, gradients.q)
    solved = factors.rotate_back(factors.filter(factors.rotate_rows(rows), damped_inverse(0.1)))
    expected = solved @ rows.T * gradients.q
    torch.testing.assert_close(influence, expected, rtol=1e-9, atol=1e-12)


def test_gpt2_is_attributed_by_its_conv1d_layers():
    model, inputs, asked = made("GPT-2, classes")
    with tc.Attributor(model, CLASSES, precision="float64", parameters=["*c_*", "score*"], progress=False) as ours:
        scores = ours.fit((inputs, asked)).score((inputs, asked))
        assert ours.plan.gradients == "hooks"
        with tc.Attributor(
            model, CLASSES, precision="float64", parameters=["*c_*", "score*"], gradients="loop", progress=False
        ) as slow:
            assert abs(scores - slow.fit((inputs, asked)).score((inputs, asked))).max() < 1e-6 * abs(scores).max()

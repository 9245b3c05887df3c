"""LoRA ensembles: adapters as peft has them, and TRAK's kernel over their gradients by a loop."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.oracles import primal_trak
from trak_core.errors import InvalidModelError, NeedNotMetError
from trak_core.gradients import run_model
from trak_core.methods import METHODS, Examples, MethodContext, find_method
from trak_core.methods.lora import N_ADAPTERS, RANK, Adapters, with_adapters
from trak_core.tasks import CausalLM, Classification

N_TRAIN, N_TEST = 24, 5
EVERYTHING = slice(None)


def mlp_context(n_checkpoints: int = 1) -> MethodContext:
    """Trained a little, in double precision."""
    torch.manual_seed(0)
    inputs = torch.randn(N_TRAIN + N_TEST, 5, dtype=torch.float64)
    labels = (inputs[:, :3] + 0.3 * torch.randn(len(inputs), 3, dtype=torch.float64)).argmax(1)
    states = []
    for _ in range(n_checkpoints):
        model = nn.Sequential(nn.Linear(5, 12), nn.GELU(), nn.Linear(12, 3)).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(30):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[:N_TRAIN]), labels[:N_TRAIN]).backward()
            optimizer.step()
        states.append({name: value.detach().clone() for name, value in model.state_dict().items()})
    sides = [Examples(inputs[part], labels[part]) for part in (slice(N_TRAIN), slice(N_TRAIN, None))]
    return MethodContext(Classification(), model, states, *sides)


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=20, n_positions=12, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
                   attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, use_cache=False, attn_implementation="eager")
    ).eval()  # fmt: skip


def lm_context() -> MethodContext:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 20, (N_TRAIN + N_TEST, 8), generator=generator)
    ids[N_TRAIN:] = ids[:N_TEST]  # each question is a passage that was seen
    lengths = torch.randint(4, 9, (len(ids),), generator=generator)
    lengths[N_TRAIN:] = lengths[:N_TEST]
    mask = (torch.arange(8) < lengths[:, None]).long()
    model, task = gpt2(), CausalLM()
    inputs = {"input_ids": ids, "attention_mask": mask}
    labels = torch.where(mask > 0, ids, -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        task.loss(
            task.outputs_of(model, {name: part[:N_TRAIN] for name, part in inputs.items()}), labels[:N_TRAIN]
        ).mean().backward()
        optimizer.step()
    sides = [
        Examples({name: part[where] for name, part in inputs.items()}, labels[where])
        for where in (slice(N_TRAIN), slice(N_TRAIN, None))
    ]
    return MethodContext(task, model, [dict(model.state_dict())], *sides)


def adapter_gradients(context: MethodContext, weights: dict[str, Tensor], examples: Examples) -> np.ndarray:
    """Gradients of the margin in the parameters of an adapter `[n, n_parameters]`, one example at a time."""
    rows = []
    for one_input, one_target in zip(examples.inputs, examples.targets, strict=True):
        given = {name: value.detach().clone().requires_grad_("lora" in name) for name, value in weights.items()}
        logits = run_model(context.architecture, given, one_input[None])
        margin = context.task.model_output(logits, one_target[None]).sum()
        asked = [value for name, value in given.items() if "lora" in name]
        rows.append(torch.cat([gradient.flatten() for gradient in torch.autograd.grad(margin, asked)]))
    return torch.stack(rows).numpy()


def test_scores_are_trak_over_the_gradients_of_adapters_both_factors_averaged():
    context = mlp_context(2)
    adapted = with_adapters(context)
    assert len(adapted.states) == 2 * N_ADAPTERS
    train, test = (
        [adapter_gradients(adapted, weights, part) for weights in adapted.states]
        for part in (context.train, context.test)
    )
    assert train[0].shape == (N_TRAIN, RANK * (5 + 12) + RANK * (12 + 3))
    q = torch.stack([adapted.q(weights) for weights in adapted.states]).mean(0).numpy()
    scores = find_method("lora_ensemble").fit(context)
    expected = primal_trak(train, test, q, context.ridge)
    np.testing.assert_allclose(scores.block(EVERYTHING).numpy(), expected, rtol=1e-7, atol=1e-10)
    assert scores.n_checkpoints == 2  # adapters of one checkpoint are no independent models
    assert scores.settings == {"ridge": context.ridge, "adapters": N_ADAPTERS, "rank": RANK}


def test_adapters_are_fine_tuned_each_otherwise_and_the_checkpoint_stays_as_it_is():
    context = mlp_context()
    kept = {name: value.clone() for name, value in context.states[0].items()}
    adapted = with_adapters(context)
    for weights in adapted.states:
        assert weights["2.lora_B.default.weight"].any()  # zero before it is trained
        assert weights["0.base_layer.weight"].data_ptr() == context.states[0]["0.weight"].data_ptr()
    assert not torch.equal(*(adapted.states[number]["0.lora_A.default.weight"] for number in (0, 1)))
    assert all(torch.equal(context.states[0][name], value) for name, value in kept.items())
    again = with_adapters(context)
    for one, other in zip(adapted.states, again.states, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("make", [mlp_context, lm_context])
def test_scores_agree_with_those_of_trak(make):
    context = make()
    trak, lora = (find_method(name).fit(context).block(EVERYTHING) for name in ("trak", "lora_ensemble"))
    both = torch.stack([trak.flatten(), lora.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.6
    if make is lm_context:
        assert lora.argmax(1).tolist() == list(range(N_TEST))


def test_gpt2_gets_adapters_on_all_layers_but_the_head_that_is_its_table_of_words():
    context = lm_context()
    adapters = Adapters.on(context.architecture, context.task, context.train.inputs)
    inside = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert adapters.layers == tuple(f"transformer.h.{block}.{layer}" for block in range(2) for layer in inside)
    fresh = adapters.fresh(context.states[0])
    weights = {**fresh.state_dict(), **adapters.renamed(context.states[0])}
    assert adapters.renamed(context.states[0]).keys() <= fresh.state_dict().keys()
    found, expected = (
        run_model(model, state, context.train.inputs, context.task.outputs_of)
        for model, state in ((fresh, weights), (context.architecture, context.states[0]))
    )
    torch.testing.assert_close(found, expected)
    trained = [name for name, value in fresh.named_parameters() if value.requires_grad]
    assert len(trained) == 2 * len(adapters.layers) and all("lora_" in name for name in trained)


class Attending(nn.Module):
    """Attention of torch takes the weight of a Linear layer that it never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(4, 1, batch_first=True), nn.Linear(4, 3)
        self.unused, self.normed = nn.Linear(4, 3), parametrizations.weight_norm(nn.Linear(4, 4))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.normed(self.attention(inputs, inputs, inputs)[0].mean(1)))


def test_layers_that_do_not_run_or_have_no_weight_of_their_own_get_none():
    adapters = Adapters.on(Attending(), Classification(), torch.randn(2, 3, 4))
    assert adapters.layers == ("out",)


def adapted_already() -> nn.Module:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(nn.Sequential(nn.Linear(5, 3)), LoraConfig(r=2, target_modules=["0"]))


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (partial(nn.Linear, 5, 3), InvalidModelError, "nowhere to put adapters; use trak_dropout, or trak"),
        (adapted_already, NeedNotMetError, "trak over several checkpoints of adapters is a LoRA ensemble already"),
    ],
)
def test_models_that_take_no_adapters_are_refused(make, kind, said: str):
    model = make()
    sides = Examples(torch.randn(8, 5), torch.arange(8) % 3), Examples(torch.randn(2, 5), torch.arange(2))
    context = MethodContext(Classification(), model, [dict(model.state_dict())], *sides)
    with pytest.raises(kind, match=said):
        find_method("lora_ensemble").fit(context)


def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch):
    context, needs = mlp_context(), METHODS["lora_ensemble"].info.needs
    context.require("lora_ensemble", needs)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(NeedNotMetError, match=r"needs the library peft, .*; install it: `pip install peft`"):
        context.require("lora_ensemble", needs)


def test_what_peft_cannot_adapt_is_said_with_its_reason():
    model = nn.Sequential(nn.Conv2d(4, 6, 1, groups=2), nn.Flatten(), nn.Linear(6, 3))
    adapters = Adapters.on(model, Classification(), torch.randn(2, 4, 1, 1))
    assert adapters.layers == ("0", "2")
    adapters.fresh(dict(model.state_dict()))
    with pytest.raises(InvalidModelError, match=r"peft cannot put adapters on this model \(.*; use trak_dropout"):
        Adapters(nn.Sequential(nn.Conv2d(2, 3, 1)), ("1",)).fresh({})

"""Language model tasks against sums written out token by token."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from trak_core.errors import InvalidDataError, LabelError, NoLogitsError
from trak_core.gradients import forward, representations
from trak_core.methods import Examples, MethodContext, find_method
from trak_core.tasks import CausalLM, Classification, MaskedLM, Seq2Seq, find_task
from trak_core.tasks.tokens import TokenTask

N_WORDS = 7


class Bigrams(nn.Module):
    """Logits of the next token from the one before it, as GPT-2 gives them: at the place of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(N_WORDS, N_WORDS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": 3 * self.table(input_ids)}


class Translator(nn.Module):
    """Logits of each target token from the source and the one before it; makes decoder inputs of labels as T5 does."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(N_WORDS, N_WORDS), nn.Embedding(N_WORDS, N_WORDS)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, decoder_input_ids: Tensor | None = None):
        if decoder_input_ids is None:
            assert labels is not None
            decoder_input_ids = torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1].clamp_min(0)], dim=1)
        return {"logits": self.source(input_ids).mean(1, keepdim=True) + self.target(decoder_input_ids)}


def _log_odds(logits: Tensor, token: int) -> float:
    p = float(logits.detach().double().softmax(-1)[token])
    return math.log(p / (1 - p))


@pytest.fixture
def model() -> Bigrams:
    torch.manual_seed(0)
    return Bigrams()


IDS = torch.tensor([[1, 5, 2, 2, 0], [3, 3, 6, 0, 0]])
LABELS = torch.tensor([[1, 5, 2, -100, 0], [3, 3, 6, -100, -100]])


def test_log_odds_of_a_continuation_are_the_sum_over_its_tokens(model: Bigrams):
    task = CausalLM()
    outputs = task.outputs_of(model, {"input_ids": IDS, "labels": LABELS})
    found = task.model_output(outputs, LABELS)
    for row in range(2):
        asked = [place for place in range(1, 5) if LABELS[row, place] >= 0]
        odds = [_log_odds(3 * model.table(IDS[row, place - 1]), int(LABELS[row, place])) for place in asked]
        assert found[row].item() == pytest.approx(sum(odds), abs=1e-5)
        weight = sum(1 - 1 / (1 + math.exp(-each)) for each in odds) / len(odds)
        assert task.out_to_loss(outputs, LABELS)[row].item() == pytest.approx(weight, abs=1e-6)
        loss = sum(math.log1p(math.exp(-each)) for each in odds)
        assert task.loss(outputs, LABELS)[row].item() == pytest.approx(loss, abs=1e-5)


def test_the_loss_is_that_of_hugging_face(model: Bigrams):
    outputs = CausalLM().outputs_of(model, {"input_ids": IDS, "labels": LABELS})
    logits = model(IDS)["logits"]
    theirs = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), LABELS[:, 1:].flatten(), reduction="sum")
    assert CausalLM().loss(outputs, LABELS).sum().item() == pytest.approx(theirs.item(), rel=1e-6)


def test_log_odds_of_spans_add_up_to_those_of_the_whole(model: Bigrams):
    task = CausalLM()
    outputs = task.outputs_of(model, IDS)
    alone = torch.eye(5, dtype=torch.bool)[1:]
    of_tokens = [task.model_output(outputs, torch.where(one, IDS, -100)) for one in alone]
    assert torch.allclose(torch.stack(of_tokens).sum(0), task.model_output(outputs, IDS), atol=1e-5)


def test_padding_behind_a_text_is_never_asked_about(model: Bigrams):
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    outputs = CausalLM().outputs_of(model, {"input_ids": IDS, "attention_mask": mask})
    assert outputs[0, 3:].eq(0).all()
    assert outputs[:, 0].eq(0).all()


def test_log_odds_stay_exact_where_a_model_is_sure():
    logits = torch.tensor([[[0.0, 40.0, 0.0], [0.0, 0.0, 0.0]]])
    outputs = CausalLM().outputs_of(lambda ids: logits, torch.tensor([[0, 1]]))
    assert outputs[0, 1].item() == pytest.approx(40 - math.log(2))


def test_a_translation_is_told_with_the_decoder_inputs_that_are_given_or_follow_from_the_labels():
    torch.manual_seed(1)
    model, task = Translator(), Seq2Seq()
    labels = torch.tensor([[4, 2, 1], [6, 1, -100]])
    inputs = {"input_ids": IDS, "labels": labels}
    decoder = torch.tensor([[0, 4, 2], [0, 6, 1]])
    outputs = task.outputs_of(model, inputs)
    assert torch.equal(outputs, task.outputs_of(model, {**inputs, "decoder_input_ids": decoder}))
    logits = model(IDS, decoder_input_ids=decoder)["logits"]
    assert outputs[1, 1].item() == pytest.approx(_log_odds(logits[1, 1], 1), abs=1e-5)
    assert outputs[1, 2] == 0


def test_sampled_parts_make_the_fisher_matrix_of_all_tokens(model: Bigrams):
    """`E[g g^T]` over draws against `sum of J^T (diag(p) - p p^T) J` over places."""
    task, inputs = CausalLM(), {"input_ids": IDS, "labels": LABELS}
    outputs = task.outputs_of(model, inputs)
    expected = torch.zeros(N_WORDS**2, N_WORDS**2, dtype=torch.float64)
    for row, place in zip(*(task.asked(LABELS)).nonzero(as_tuple=True), strict=True):
        p = (3 * model.table(IDS[row, place - 1])).detach().double().softmax(-1)
        jacobian = torch.zeros(N_WORDS, N_WORDS**2, dtype=torch.float64)
        start = int(IDS[row, place - 1]) * N_WORDS
        jacobian[:, start : start + N_WORDS] = 3 * torch.eye(N_WORDS)
        expected += jacobian.T @ (torch.diag(p) - p[:, None] * p) @ jacobian
    found, draws = torch.zeros_like(expected), 4000
    uniform = torch.rand(2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for part in task.curvature(outputs, LABELS, draws, uniform):
        given = part.task.model_output(part.task.outputs_of(model, inputs), part.target)
        for row in range(2):
            (gradient,) = torch.autograd.grad(given[row], model.table.weight, retain_graph=True)
            found += part.scale[row].double() ** 2 * gradient.flatten().double().outer(gradient.flatten().double())
    assert (found - expected).norm() < 0.1 * expected.norm()


def test_products_with_the_curvature_are_those_of_the_hessian_in_the_logits(model: Bigrams):
    task = CausalLM().curved
    logits = task.outputs_of(model, {"input_ids": IDS, "labels": LABELS}).detach()
    vectors = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
    _, expected = torch.autograd.functional.hvp(lambda given: task.loss(given, LABELS).sum(), logits, vectors)
    assert torch.allclose(task.curvature_product(logits, LABELS, vectors), expected, atol=1e-5)


def test_labels_that_ask_nothing_are_refused(model: Bigrams):
    silent = torch.tensor([[1, 5, 2, 2, 0], [3, -100, -100, -100, -100]])
    with pytest.raises(LabelError, match=r"example 11 ask about no token.*first token"):
        CausalLM().check(CausalLM().outputs_of(model, IDS), silent, start=10)


def test_one_answer_for_a_whole_text_is_no_language_model():
    with pytest.raises(NoLogitsError, match="text_classification"):
        CausalLM().outputs_of(lambda ids: torch.zeros(len(ids), 3), IDS)


def test_the_tasks_are_known_by_name():
    assert isinstance(find_task("causal_lm"), CausalLM)
    assert isinstance(find_task("seq2seq"), Seq2Seq)


# --- what the model makes of a text --------------------------------------------------------------------------------


class TinyReader(nn.Module):
    """A language model whose head is a Linear layer, at every token."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix, self.head = nn.Embedding(N_WORDS, 4), nn.Linear(4, 4), nn.Linear(4, N_WORDS)

    def hidden(self, input_ids: Tensor) -> Tensor:
        return self.mix(self.table(input_ids)).tanh()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None):
        return {"logits": self.head(self.hidden(input_ids))}


class TinyTranslator(TinyReader):
    """The same from text to text: the head runs at the tokens of the target text."""

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, attention_mask: Tensor | None = None):
        return {"logits": self.head(self.hidden(labels.clamp_min(0)) + self.hidden(input_ids).mean(1, keepdim=True))}


def seen(task: TokenTask, model: nn.Module, inputs: dict[str, Tensor] | Tensor) -> Tensor:
    return representations(model, dict(model.state_dict()), inputs, task)


def test_what_a_model_makes_of_a_text_is_the_mean_over_its_real_tokens():
    torch.manual_seed(1)
    model, mask = TinyReader(), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    found = seen(CausalLM(), model, {"input_ids": IDS, "attention_mask": mask})
    expected = [model.hidden(IDS[0]).mean(0), model.hidden(IDS[1, :3]).mean(0)]
    torch.testing.assert_close(found, torch.stack(expected).detach())
    torch.testing.assert_close(seen(CausalLM(), model, IDS[:1]), expected[0][None].detach())


def test_padding_on_either_side_changes_nothing_of_it():
    torch.manual_seed(1)
    model, short = TinyReader(), IDS[1:, :3]
    alone = seen(CausalLM(), model, short)
    for padding in ((0, 4), (3, 0), (1, 2)):
        inputs = {name: pad(part, padding) for name, part in (("input_ids", short), ("attention_mask", short * 0 + 1))}
        torch.testing.assert_close(seen(CausalLM(), model, inputs), alone)


@pytest.mark.parametrize("n_more", [0, 3])
def test_between_texts_it_is_the_mean_over_the_tokens_of_the_target_text(n_more: int):
    torch.manual_seed(1)
    model = TinyTranslator()
    inputs = {"input_ids": IDS[:, :2], "labels": pad(LABELS, (0, n_more), value=-100)}
    found = seen(Seq2Seq(), model, inputs)
    held = [LABELS[row][LABELS[row] >= 0] for row in range(2)]
    expected = [model.hidden(held[row]).mean(0) + model.hidden(IDS[row, :2]).mean(0) for row in range(2)]
    torch.testing.assert_close(found, torch.stack(expected).detach())


def test_a_classifier_that_works_token_by_token_is_seen_at_its_real_tokens_too():
    torch.manual_seed(1)
    model, mask = TinyReader(), torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    found = representations(
        model, dict(model.state_dict()), {"input_ids": IDS, "attention_mask": mask}, Classification()
    )
    expected = [model.hidden(IDS[row, : mask[row].sum()]).mean(0) for row in range(2)]
    torch.testing.assert_close(found, torch.stack(expected).detach())


def test_texts_of_any_length_can_be_compared_by_embedding():
    torch.manual_seed(1)
    model = TinyReader()
    sides = [
        Examples({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, ids) for ids in (IDS, IDS[:, [0, 1, 2]])
    ]
    context = MethodContext(CausalLM(), model, [dict(model.state_dict())], *sides)
    found = find_method("embedding").fit(context).block(slice(None))
    rows = [torch.stack([model.hidden(ids).mean(0) for ids in side.targets]) for side in sides]
    expected = torch.nn.functional.cosine_similarity(rows[1][:, None], rows[0][None], dim=2)
    torch.testing.assert_close(found, expected.detach())


def test_what_a_model_returns_bounds_how_many_texts_it_reads_at_once(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(1)
    model, sizes = TinyReader(), []
    model.register_forward_pre_hook(lambda _, __, given: sizes.append(len(given["input_ids"])), with_kwargs=True)
    whole = seen(CausalLM(), model, {"input_ids": IDS.repeat(10, 1)})
    assert max(sizes) == 20
    sizes.clear()
    monkeypatch.setattr(forward, "RETURNED_BYTES", 3 * 5 * N_WORDS * 4)
    torch.testing.assert_close(seen(CausalLM(), model, {"input_ids": IDS.repeat(10, 1)}), whole)
    assert max(sizes) == 3


def test_a_masked_token_is_told_at_its_own_place(model: Bigrams):
    labels = torch.tensor([[-100, 5, -100, -100, -100]])
    outputs = MaskedLM().outputs_of(model, {"input_ids": IDS[:1], "labels": labels})
    expected = _log_odds(3 * model.table(IDS[0, 1]), 5)
    assert MaskedLM().model_output(outputs, labels).item() == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InvalidDataError, match="tokens are masked"):
        MaskedLM().outputs_of(model, IDS)

"""Toy tasks that use every seam of a task: two inputs, references for each checkpoint, two sides, many targets."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from trak_core.tasks import Answer, CurvaturePart, Inputs, Model, Task, call, hessian_product

__all__ = ["NextTokens", "Pairs", "PairsModel", "TokensModel"]

N_LEFT, N_RIGHT, N_SHARED, N_TOKENS = 5, 4, 3, 6


class PairsModel(nn.Module):
    """Two towers; what it returns is neither a tensor nor has it logits."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(N_LEFT, 4), nn.Tanh(), nn.Linear(4, N_SHARED))
        self.right = nn.Linear(N_RIGHT, N_SHARED)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"left_embeds": self.left(left), "right_embeds": self.right(right)}


@dataclass(frozen=True, eq=False)
class Pairs(Task):
    """Which right half belongs to a left one: outputs are both embeddings `[n, 2, d]`, targets play no part.

    Training tells each left half from the right halves of its batch. f is the log odds of the pair against the right
    halves of reference pairs, embedded by the checkpoint that is asked; on the query side it is the right half that is
    told from the left halves of the references.

    Attributes:
        references: pairs as the model takes them.
        known: their embeddings `[m, 2, d]` at a checkpoint; None before `prepare`.
        left_first: whether the left half is given; False on the query side.
    """

    references: dict[str, Tensor]
    known: Tensor | None = None
    left_first: bool = True

    name = "pairs"

    def outputs_of(self, model: Model, inputs: Inputs) -> Tensor:
        found = call(model, inputs)
        return torch.stack([found["left_embeds"], found["right_embeds"]], dim=1)

    def prepare(self, model: Model) -> "Pairs":
        return replace(self, known=self.outputs_of(model, self.references))

    @property
    def query(self) -> "Pairs":
        return self if not self.left_first else replace(self, left_first=False)

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        given, wanted = (0, 1) if self.left_first else (1, 0)
        assert self.known is not None, "ask a prepared task"
        others = outputs[:, given] @ self.known[:, wanted].T
        return (outputs[:, given] * outputs[:, wanted]).sum(1) - others.logsumexp(1)

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return torch.sigmoid(-self.model_output(outputs, target))

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        if self.known is not None:
            return torch.nn.functional.softplus(-self.model_output(outputs, target))
        similarity = outputs[:, 0] @ outputs[:, 1].T  # [n, n], of the batch
        return similarity.logsumexp(1) - similarity.diagonal()


class TokensModel(nn.Module):
    """Logits of the next token `[n, n_positions, N_TOKENS]` from the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(N_TOKENS, 4), nn.Linear(4, N_TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embedding(tokens)))


@dataclass(frozen=True)
class NextTokens(Task):
    """A language model: targets are the next tokens `[n, n_positions]`, -1 where nothing is asked.

    On the train side f is the log-likelihood of all of them, the loss with its sign turned. On the query side it is the
    log odds of them together; every single token can be asked about as well.

    Attributes:
        is_query: on the query side.
    """

    is_query: bool = False

    name = "next_tokens"
    modality = "text"

    @property
    def query(self) -> "NextTokens":
        return self if self.is_query else NextTokens(True)

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        likelihood = -self.loss(outputs, target)
        return likelihood - torch.log(-torch.expm1(likelihood)) if self.is_query else likelihood

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        likelihood = -self.loss(outputs, target)
        return -torch.expm1(likelihood) if self.is_query else torch.ones_like(likelihood)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        is_target = torch.arange(outputs.shape[-1]) == target[..., None]
        of_each = outputs.logsumexp(-1) - (outputs * is_target).sum(-1)
        return (of_each * (target >= 0)).sum(-1)

    def targets(self, outputs: Tensor, target: Tensor) -> Tensor:
        n_positions = target.shape[1]
        alone = torch.eye(n_positions, dtype=torch.bool)  # one token each
        return torch.where(alone, target[:, None, :], -1)

    def answer(self, outputs: Tensor) -> Answer:
        return Answer(outputs.argmax(-1))

    def curvature(
        self, outputs: Tensor, target: Tensor | None, draws: int | None = None, uniform: Tensor | None = None
    ) -> Iterator[CurvaturePart]:
        """Every token at every position with its probability: tokens at two positions do not curve together."""
        p, likelihood = outputs.softmax(-1), _Logits()
        for position in range(outputs.shape[1]):
            for token in range(outputs.shape[2]):
                # log p_y has the gradient e_y - p in the logits, and E_y[(e_y - p)(e_y - p)^T] = diag(p) - p p^T.
                direction = torch.zeros_like(outputs)
                direction[:, position] = -p[:, position]
                direction[:, position, token] += 1
                scale = p[:, position, token].sqrt()
                yield CurvaturePart(
                    likelihood, direction, scale if target is None else scale * (target[:, position] >= 0)
                )

    def curvature_product(self, outputs: Tensor, target: Tensor, vectors: Tensor) -> Tensor:
        return hessian_product(self, outputs, target, vectors)


@dataclass(frozen=True)
class _Logits(Task):
    """The logits along a direction."""

    name = "logits"

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        return (outputs * target).flatten(1).sum(1)

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return outputs.new_ones(len(outputs))

"""What the neighbours of an example are labelled: a vote of the nearest others, the nearer the heavier."""

import torch
from torch import Tensor

N_NEIGHBOURS = 20
SHARPNESS = 10.0
"""A neighbour whose cosine is higher by .1 counts e times as much."""
_CELLS = 2**25  # cosines held at a time


def neighbour_votes(
    rows: Tensor, labels: Tensor, n_classes: int, places: Tensor | None = None, voters: Tensor | None = None
) -> Tensor:
    """Share of each class in the vote of the nearest others, float64 `[n_places, n_classes]`.

    Near is what has a high cosine, taken from the mean of all rows. An example has no vote on itself. A
    row sums to 1, or is 0 where nobody else may vote.

    Args:
        rows: what examples are compared by `[n, ...]`.
        labels: given, int64 `[n]`.
        n_classes: number of classes.
        places: numbers of the examples to vote on; all when None.
        voters: numbers of those that may vote; all when None.
    """
    flat = rows.flatten(1).float()
    flat = torch.nn.functional.normalize(flat - flat.mean(0), dim=1)
    everybody = torch.arange(len(rows), device=rows.device)
    places = everybody if places is None else places.to(rows.device)
    voters = everybody if voters is None else voters.to(rows.device)
    of_class = torch.nn.functional.one_hot(labels[voters], n_classes).double()
    n_nearest = min(N_NEIGHBOURS, len(voters) - 1)
    votes = []
    for part in torch.split(places, max(1, _CELLS // len(voters))):
        cosines = flat[part] @ flat[voters].T
        cosines.masked_fill_(part[:, None] == voters, -torch.inf)
        nearest, which = cosines.topk(n_nearest, dim=1)
        weights = (SHARPNESS * nearest.double()).softmax(dim=1)
        votes.append((weights[..., None] * of_class[which]).sum(1))
    return torch.cat(votes)

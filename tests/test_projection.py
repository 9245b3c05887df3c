"""Projections against dense matrices built entry by entry from the documented formulas, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import dense_rademacher, dense_sjlt, plain_philox
from trak_core.errors import InvalidSettingError
from trak_core.gradients import BatchGradients, GradientComputer, find_layers, form, n_parameters, take
from trak_core.projection import (
    BlockProjection,
    FeatureMap,
    KroneckerProjection,
    RademacherProjection,
    SjltProjection,
    feature_maps,
    make_feature_map,
)
from trak_core.projection.random_words import Stream, philox, words, words_at
from trak_core.tasks import Classification

CPU = torch.device("cpu")
# float64: only the order of sums over a few hundred numbers differs.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}
# Counters of two words: blocks that reach from one high word into the next.
BEFORE_THE_CARRY = 2**32 - 5
STARTS = [0, 6, 2**31 + 1, BEFORE_THE_CARRY, 4 * BEFORE_THE_CARRY + 1]
SEEDS = [0, 3, 2**32 + 7, 2**63 + 12345]
# Counter, key and words of Random123's known-answer file.
KNOWN_WORDS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
MAKE = {
    "sjlt": lambda proj_dim, seed: SjltProjection(proj_dim, seed),
    "sjlt, 3 copies": lambda proj_dim, seed: SjltProjection(proj_dim, seed, 3),
    "rademacher": lambda proj_dim, seed: RademacherProjection(proj_dim, seed),
}
DENSE = {
    "sjlt": lambda proj_dim, seed, start, stop: dense_sjlt(proj_dim, seed, 1, start, stop),
    "sjlt, 3 copies": lambda proj_dim, seed, start, stop: dense_sjlt(proj_dim, seed, 3, start, stop),
    "rademacher": dense_rademacher,
}


def from_hex(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def drawn(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def projected(projection: BlockProjection, gradients: Tensor, start: int = 0) -> Tensor:
    """One block `[n_block, n]` by itself."""
    out = torch.zeros(projection.proj_dim, gradients.shape[1], dtype=gradients.dtype)
    projection.accumulate(out, gradients, start)
    return out


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_WORDS)
def test_philox_gives_the_known_answers_and_so_does_its_oracle(counter: str, key: str, expected: str):
    low, high = from_hex(key)
    a, b, c, d = (torch.tensor([word]) for word in from_hex(counter))
    assert [int(word) for word in philox((a, b, c, d), low + (high << 32))] == from_hex(expected)
    assert plain_philox(from_hex(counter), [low, high]) == from_hex(expected)


@pytest.mark.parametrize("start", STARTS)
def test_words_depend_on_their_number_alone(start: int):
    """However a stretch of words is split, and whether words are drawn in a row or one here and one there."""
    whole = words(start, start + 23, 9, Stream.BUCKETS, 2, CPU)
    for first, last in [(0, 1), (1, 4), (3, 23), (5, 6), (8, 16), (22, 23)]:
        assert torch.equal(words(start + first, start + last, 9, Stream.BUCKETS, 2, CPU), whole[first:last])
    places = torch.tensor([[22, 0, 7], [7, 1, 13]])
    assert torch.equal(words_at(start + places, 9, Stream.BUCKETS, 2), whole[places])


def test_streams_parts_and_both_halves_of_the_seed_have_words_of_their_own():
    settings = [(s, stream, part) for s in (5, 5 + 2**32, 6) for stream in Stream for part in (0, 1)]
    rows = torch.stack([words(0, 64, seed, stream, part, CPU) for seed, stream, part in settings])
    assert len(rows.unique()) == rows.numel()  # 768 words of 32 bits: all differ but for one seed in ten thousand


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    ("kind", "proj_dim"), [("sjlt", 7), ("sjlt, 3 copies", 5), ("rademacher", 5), ("rademacher", 200)]
)
def test_a_projection_is_the_product_with_its_documented_matrix(kind: str, proj_dim: int, start: int):
    gradients = drawn(40, 6)
    for seed in SEEDS:
        expected = DENSE[kind](proj_dim, seed, start, start + 40).T @ gradients
        torch.testing.assert_close(projected(MAKE[kind](proj_dim, seed), gradients, start), expected, **TOLERANCE)


@pytest.mark.parametrize("kind", MAKE)
def test_a_projection_is_the_same_for_every_split_into_blocks(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trak_core.projection.rademacher.BLOCK", 32)
    gradients = drawn(301, 4)
    for start in (0, BEFORE_THE_CARRY):
        whole = projected(MAKE[kind](20, 1), gradients, start)
        for sizes in ([1, 300], [150, 1, 150], [100, 101, 100], [43] * 7):
            projection, out = MAKE[kind](20, 1), torch.zeros(20, 4, dtype=torch.float64)
            at = 0
            for block in torch.split(gradients, sizes):
                projection.accumulate(out, block, start + at)
                at += len(block)
            torch.testing.assert_close(out, whole, **TOLERANCE)


@pytest.mark.parametrize("kind", MAKE)
def test_rows_of_a_table_are_projected_as_in_their_block(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Also those that an example has several times, and those that another has too."""
    monkeypatch.setattr("trak_core.projection.rademacher.BLOCK", 16)
    start, rows = BEFORE_THE_CARRY, torch.tensor([[7, 2, 7], [0, 2, 15], [9, 9, 9], [3, 1, 0]])
    values, block = drawn(4, 3, 5), torch.zeros(16, 5, 4, dtype=torch.float64)
    for i, row in enumerate(rows):
        block[..., i].index_add_(0, row, values[i])
    projection, out = MAKE[kind](20, 1), torch.ones(20, 4, dtype=torch.float64)
    projection.accumulate_rows(out, rows, values, start)
    torch.testing.assert_close(out - 1, projected(projection, block.flatten(0, 1), start), **TOLERANCE)


@pytest.mark.parametrize("kind", MAKE)
def test_projected_inner_products_have_the_true_one_as_mean_and_the_error_of_johnson_and_lindenstrauss(kind: str):
    """Mean over 400 seeds within 4 standard errors, spread within 20%, 5 times its own standard error of 4%."""
    g = drawn(60, 2)
    true = float(g[:, 0] @ g[:, 1])
    products = torch.stack([projected(MAKE[kind](16, seed), g).prod(1).sum() for seed in range(400)])
    a, b = g.T**2
    spread = float(((a.sum() * b.sum() + true**2 - 2 * (a * b).sum()) / 16).sqrt())
    assert abs(float(products.mean()) - true) < 4 * spread / 400**0.5
    assert abs(float(products.std()) - spread) < 0.2 * spread


@pytest.mark.parametrize("kind", MAKE)
def test_another_seed_is_another_projection(kind: str):
    g = drawn(100, 2)
    assert torch.equal(projected(MAKE[kind](16, 1), g), projected(MAKE[kind](16, 1), g))
    assert not torch.allclose(projected(MAKE[kind](16, 1), g), projected(MAKE[kind](16, 2), g))


# 64 parameters: an index of 4 and a number of 8 bytes each, or the 16 bytes of 128 signs each.
@pytest.mark.parametrize(("kind", "block_bytes"), [(SjltProjection, 64 * 12), (RademacherProjection, 64 * 16)])
def test_what_is_kept_in_memory_is_bounded_and_changes_nothing(kind: type, block_bytes: int):
    some, none = kind(16, 5, cache_bytes=5 * block_bytes // 2), kind(16, 5, cache_bytes=0)
    g = drawn(64, 3)
    for start in [0, 64, 128, 64, 0, 128]:
        assert torch.equal(projected(some, g, start), projected(none, g, start))
    assert (len(some._cache), len(none._cache)) == (2, 0)


@pytest.mark.parametrize("kind", MAKE)
def test_one_projection_takes_gradients_of_either_type(kind: str):
    """What was kept for float32 is not taken for float64, and the other way round; float32 keeps seven digits."""
    projection, g = MAKE[kind](16, 5), drawn(64, 3)
    single, double = projected(projection, g.float()), projected(projection, g)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(double, projected(MAKE[kind](16, 5), g), **TOLERANCE)
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


N, N_CLASSES = 6, 3
TASK = Classification()


class Tokens(nn.Module):
    """Two tables, Linear layers on sequences and on vectors, and a norm between them."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.fc, self.norm = nn.Embedding(11, 4), nn.Linear(4, 7), nn.LayerNorm(7)
        self.places, self.head = nn.Embedding(6, 7), nn.Linear(7, N_CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.norm(torch.tanh(self.fc(self.words(tokens))))
        return self.head((hidden + self.places(torch.arange(6)[None])).tanh().mean(1))


def convolutions() -> nn.Module:
    """Two norm layers that are no neighbours, and a convolution in groups."""
    first = (nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.Tanh())
    second = (nn.Conv2d(4, 6, 2, groups=2), nn.GroupNorm(2, 6), nn.Tanh())
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(24, N_CLASSES))


def matrices() -> nn.Module:
    """Layers that Kronecker factors cover completely."""
    return nn.Sequential(
        nn.Conv1d(2, 3, 2, bias=False), nn.Tanh(), nn.Linear(5, 4), nn.Flatten(), nn.Linear(12, N_CLASSES)
    )


MODELS = {
    "tokens": (Tokens, lambda: torch.randint(0, 7, (N, 6))),
    "convolutions": (convolutions, lambda: torch.randn(N, 2, 6, 6).double()),
    "matrices": (matrices, lambda: torch.randn(N, 2, 6).double()),
}


class Tied(nn.Module):
    """A table that serves as head too, beside Linear layers that share a weight, one of them without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)
        self.fc1, self.fc2 = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.head.weight, self.fc2.weight = self.words.weight, self.fc1.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.fc2(torch.tanh(self.fc1(self.words(tokens)))).mean(1))[:, :N_CLASSES]


MODELS["tied"] = (Tied, MODELS["tokens"][1])


def gradients_of(name: str, way: str, part: slice = slice(None)) -> tuple[GradientComputer, BatchGradients]:
    torch.manual_seed(0)
    build, inputs = MODELS[name][0]().double(), MODELS[name][1]()
    targets = torch.arange(N) % N_CLASSES
    computer = GradientComputer(build, TASK, find_layers(build), "float64")
    computer.choose(build.state_dict(), inputs, targets, way)
    return computer, computer.compute(build.state_dict(), take(inputs, part), targets[part])


def whole(gradients: BatchGradients) -> Tensor:
    """Formed gradients `[n, n_parameters]`."""
    return torch.cat([form(each) for each in gradients.layers]).T


def feature_map(kind: Any, computer: GradientComputer, proj_dim: int = 20) -> FeatureMap:
    return make_feature_map(kind, computer.layers, computer.factored, proj_dim, 8)


@pytest.mark.parametrize("buffer", [5, 40, 2**17])
@pytest.mark.parametrize("way", ["hooks", "functional"])
@pytest.mark.parametrize("name", ["tokens", "convolutions", "tied"])
@pytest.mark.parametrize("kind", ["sjlt", "rademacher"])
def test_rows_are_projected_gradients_by_any_way_and_in_any_blocks(
    kind: str, name: str, way: str, buffer: int, monkeypatch: pytest.MonkeyPatch
):
    """5 parameters at once split every layer, 2^17 take all in one; tables are projected by their rows in use."""
    monkeypatch.setattr(feature_maps, "BUFFER_PARAMETERS", buffer)
    computer, gradients = gradients_of(name, way)
    expected = whole(gradients_of(name, "loop")[1])
    sketch = feature_map(kind, computer)
    rows, squared_norms = sketch.rows(gradients.layers)
    torch.testing.assert_close(rows, expected @ DENSE[kind](20, 8, 0, n_parameters(computer.layers)), **TOLERANCE)
    torch.testing.assert_close(squared_norms, (expected**2).sum(1), **TOLERANCE)
    torch.testing.assert_close(sketch.inner_products(rows[2:], rows), rows[2:] @ rows.T, **TOLERANCE)


@pytest.mark.parametrize("kind", ["none", "sjlt", "rademacher", "kronecker"])
@pytest.mark.parametrize("name", ["tokens", "convolutions", "tied"])
def test_rows_do_not_depend_on_the_batch_they_are_in(name: str, kind: str):
    """Not even where the map uses memory of a larger batch again."""
    computer, gradients = gradients_of(name, "hooks")
    made = feature_map(kind, computer)
    rows, norms = made.rows(gradients.layers)
    parts = [made.rows(gradients_of(name, "hooks", part)[1].layers) for part in (slice(0, 1), slice(1, 4), slice(4, 6))]
    torch.testing.assert_close(torch.cat([part for part, _ in parts]), rows, **TOLERANCE)
    torch.testing.assert_close(torch.cat([part for _, part in parts]), norms, **TOLERANCE)
    assert rows.shape == (N, made.width)


@pytest.mark.parametrize("buffer", [5, 2**17])
@pytest.mark.parametrize("kind", ["none", "sjlt", "rademacher", "kronecker"])
@pytest.mark.parametrize("name", ["tokens", "convolutions", "tied"])
def test_a_row_leads_back_to_a_direction_with_the_same_inner_products(
    name: str, kind: Any, buffer: int, monkeypatch: pytest.MonkeyPatch
):
    """`<P^T g, v> = <g, P v>`, before gradients were projected and after, for one row and for a sum of them."""
    monkeypatch.setattr(feature_maps, "BUFFER_PARAMETERS", buffer)
    computer, gradients = gradients_of(name, "hooks")
    made, g = feature_map(kind, computer), whole(gradients_of(name, "loop")[1])
    fresh = feature_map(kind, computer)
    rows, _ = made.rows(gradients.layers)
    for part, factors in ((rows[2:3], torch.ones(1)), (rows[1:5], torch.tensor([1, -2, 0, 0.5]))):
        expected = made.inner_products(rows, part) @ factors.double()
        for one in (made, fresh):
            torch.testing.assert_close(g @ one.direction(part, factors.double()), expected, **TOLERANCE)
        assert len(made.direction(part, factors.double())) == n_parameters(computer.layers)


@pytest.mark.parametrize("n_copies", [1, 3])
def test_several_copies_of_an_sjlt_lead_back_in_the_same_way(n_copies: int):
    generator = torch.Generator().manual_seed(0)
    g, v = (torch.randn(size, generator=generator, dtype=torch.float64) for size in (100, 7))
    projection = SjltProjection(7, 3, n_copies)
    projected = torch.zeros(7, 1, dtype=torch.float64)
    new = projection.back(v, 40, 140)
    projection.accumulate(projected, g[:, None], 40)
    torch.testing.assert_close(g @ new, projected[:, 0] @ v, **TOLERANCE)
    torch.testing.assert_close(projection.back(v, 40, 140), new, **TOLERANCE)


@pytest.mark.parametrize("way", ["hooks", "functional"])
@pytest.mark.parametrize("name", MODELS)
def test_kronecker_rows_are_formed_gradients_between_two_matrices(name: str, way: str):
    """Linear and Conv layers, on sequences and in groups; the other layers are one SJLT of what is left of the row."""
    computer, gradients = gradients_of(name, way)
    projections, used = KroneckerProjection.fit_into(computer.layers, 40, 8)
    expected, others = [], torch.zeros(N, 40 - used, dtype=torch.float64)
    for each in gradients_of(name, "loop")[1].layers:
        layer = each.layer
        if layer.kind == "matrix":
            projection, g = projections[layer.name], form(each).T.reshape(N, layer.n_rows, layer.n_columns)
            left = projection._side("left", layer.n_rows, projection.n_left, g)
            right = projection._side("right", layer.n_columns, projection.n_right, g)
            expected.append((left.T @ g @ right).flatten(1))
        else:
            others += form(each).T @ dense_sjlt(40 - used, 8, 1, layer.start, layer.start + layer.size)
    expected += [others] if name in ("tokens", "convolutions") else []
    made = feature_map("kronecker", computer, 40)
    rows, squared_norms = made.rows(gradients.layers)
    torch.testing.assert_close(rows, torch.cat(expected, dim=1), **TOLERANCE)
    torch.testing.assert_close(squared_norms, (rows**2).sum(1), **TOLERANCE)
    assert made.width == rows.shape[1] <= 40


def test_sides_of_a_kronecker_projection_are_random_signs_of_their_own():
    model = nn.Sequential(nn.Linear(63, 64), nn.Linear(63, 64))
    projections, _ = KroneckerProjection.fit_into(find_layers(model), 2 * 16**2, 8)
    like = torch.zeros(1, dtype=torch.float64)
    sides = [each._side(side, 64, 16, like) for each in projections.values() for side in ("left", "right")]
    sides.append(KroneckerProjection(projections["0"].layer, 16, 16, 9)._side("left", 64, 16, like))
    for i, one in enumerate(sides):
        assert torch.equal(one.abs(), torch.full((64, 16), 0.25, dtype=torch.float64))
        # Of 1,024 pairs of fair signs half agree, within 5 standard deviations of 16 each.
        assert all(abs(int((one == other).sum()) - 512) < 80 for other in sides[:i])


def test_a_kronecker_projection_with_room_for_everything_keeps_inner_products_exactly():
    computer, gradients = gradients_of("matrices", "hooks")
    made, g = feature_map("kronecker", computer, n_parameters(computer.layers)), whole(gradients)
    rows, squared_norms = made.rows(gradients.layers)
    assert made.width == n_parameters(computer.layers)
    torch.testing.assert_close(made.inner_products(rows[2:], rows), g[2:] @ g.T, **TOLERANCE)
    torch.testing.assert_close(squared_norms, (g**2).sum(1), **TOLERANCE)


@pytest.mark.parametrize(
    ("model", "least"),
    [
        (nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 3)), 2),
        (nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4), nn.Linear(4, 3)), 3),
        (nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 4), nn.Linear(4, 3)), 3),
    ],
)
def test_rows_too_short_for_kronecker_are_refused_and_the_length_named_is_enough(model: nn.Module, least: int):
    """Even where most parameters are in other layers, whose share of the row would leave no room."""
    layers = find_layers(model)
    for proj_dim in range(1, least):
        with pytest.raises(InvalidSettingError, match=rf"proj_dim={proj_dim} is too small .* at least {least},"):
            KroneckerProjection.fit_into(layers, proj_dim, 0)
    for proj_dim in (least, least + 1, 50, 10000):
        made = make_feature_map("kronecker", layers, frozenset(), proj_dim, 0)
        assert least <= made.width <= proj_dim


def test_whole_gradients_keep_inner_products_and_norms():
    computer, gradients = gradients_of("convolutions", "hooks")
    made, g = feature_map("none", computer), whole(gradients)
    rows, squared_norms = made.rows(gradients.layers)
    assert made.width == rows.shape[1] < g.shape[1]
    torch.testing.assert_close(made.inner_products(rows[2:], rows), g[2:] @ g.T, **TOLERANCE)
    torch.testing.assert_close(squared_norms, (g**2).sum(1), **TOLERANCE)


def test_projections_that_cannot_be_are_refused():
    layers = find_layers(nn.LayerNorm(4))
    for kind, proj_dim, message in [
        ("magic", 8, "projection='magic'; it must be one of none, sjlt, rademacher, kronecker"),
        ("sjlt", 0, "proj_dim=0; it must be at least 1"),
        ("kronecker", 8, "needs Linear or Conv layers"),
    ]:
        with pytest.raises(InvalidSettingError, match=message):
            make_feature_map(kind, layers, frozenset(), proj_dim, 0)

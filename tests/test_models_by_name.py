"""Models of people's own and of libraries: what cannot work is said before anything is trained."""

import hashlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.func import functional_call, vmap

from tests.pretrained import write_tiny_bert
from trak_core.engine import BuildSettings, build_run
from trak_core.engine.subject import read_build
from trak_core.errors import (
    CheckpointMismatchError,
    InvalidModelError,
    InvalidSettingError,
    NotInRunError,
    RunMismatchError,
)
from trak_core.modalities import RawData, RawSplit, encoding_metadata, prepare, read_encoding
from trak_core.modalities.text import subword_tokens
from trak_core.modalities.text.subword_tokens import SubwordTokens, Tokenizer
from trak_core.store.files import RunFiles
from trak_core.store.local_paths import keep_local_paths, metadata_here, without_paths
from trak_core.store.run import open_run
from trak_core.subjects import custom_recipe, find_model
from trak_core.subjects.custom_data import custom_subject
from trak_core.subjects.models_by_name import model_is_here, ready_models
from trak_core.subjects.of_run import read_subject, why_not_made_again
from trak_core.subjects.trial import try_model
from trak_core.tasks import label_task
from trak_core.training.ensemble import Ensemble, chance_of, make_models
from trak_core.training.weights import read_weights

NETS = """
from torch import nn


def small(n_classes, channels, height, width):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, n_classes))


def with_dropout(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, n_classes))


def with_batch_norm(n_classes):
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, n_classes))


def other_size(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(10, n_classes))


def other_classes(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, n_classes + 1))


class Looking(nn.Linear):
    def forward(self, rows):
        rows = super().forward(rows.flatten(1))
        return rows * 2 if rows.sum().item() > 1e9 else rows


def looking(n_classes):
    return Looking(16, n_classes)


class Mixing(nn.Linear):
    def forward(self, rows):
        return super().forward(rows.flatten(1) - rows.flatten(1).mean(0))


def mixing(n_classes):
    return Mixing(16, n_classes)


def frozen(n_classes):
    model = small(n_classes, 1, 4, 4)
    model[1].bias.requires_grad_(False)
    return model


def huge(n_classes):
    return nn.Linear(10**6, 10**6, device="meta")


def of_words(n_classes, n_words):
    return nn.Linear(n_words, n_classes)


def of_tokens(n_classes, n_tokens, length):
    return nn.Sequential(nn.Embedding(n_tokens, 2), nn.Flatten(), nn.Linear(2 * length, n_classes))


def of_neither(n_classes):
    return nn.Linear(3, n_classes)


def asking(n_classes, depth):
    return None


def failing(n_classes):
    raise KeyError("depth")


def none(n_classes):
    return None


value = 3
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module `people_nets` that can be imported."""
    (tmp_path / "code").mkdir()
    path = tmp_path / "code" / "people_nets.py"
    path.write_text(NETS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "people_nets", raising=False)
    yield path
    sys.modules.pop("people_nets", None)


def images(n_train: int = 60, n_test: int = 20, size: int = 4) -> RawData:
    """Two kinds of grey images, one lighter in its upper half."""
    generator = np.random.default_rng(0)

    def draw(n: int) -> RawSplit:
        labels = np.arange(n) % 2
        pixels = generator.integers(100, size=(n, size, size, 1))
        pixels[labels == 1, : size // 2] += 100
        return RawSplit(pixels.astype(np.uint8), labels)

    return RawData("squares", "image", ("dark", "light"), draw(n_train), draw(n_test))


def texts(n_train: int = 60, n_test: int = 20) -> RawData:
    """Texts of two kinds, told apart by one word."""
    generator = np.random.default_rng(0)
    common = ["film", "plot", "actor", "scene", "music"]

    def draw(n: int) -> RawSplit:
        labels = np.arange(n) % 2
        rows = [" ".join([*generator.choice(common, 4), ["good", "bad"][label]]) for label in labels]
        return RawSplit(rows, labels)

    return RawData("views", "text", ("good", "bad"), draw(n_train), draw(n_test))


def subject_of(name: str, raw: RawData, weights: str | Path = ""):
    model = find_model(name, raw.modality, weights)
    return custom_subject(prepare(raw, model.takes), model)


# --- a person's own code -----------------------------------------------------------------------------------


def test_own_code_is_called_with_what_it_asks_for(nets):
    assert subject_of("people_nets:small", images(size=6)).make_model()[1].in_features == 36
    words = subject_of("people_nets:of_words", texts())
    assert words.make_model().in_features == words.dataset.train.inputs.shape[1]
    tokens = subject_of("people_nets:of_tokens", texts())
    assert tokens.make_model()[2].in_features == 2 * tokens.dataset.train.inputs.shape[1]
    assert tokens.training == subject_of("transformer", texts()).training


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("with_dropout", InvalidModelError, r"'people_nets:with_dropout' has Dropout: .*train_model=.*docs/your-own"),
        ("with_batch_norm", InvalidModelError, "has BatchNorm2d: .*use GroupNorm"),
        ("other_size", InvalidModelError, r"cannot take inputs of shape \(4, 1, 4, 4\) in float32 .*another size"),
        ("other_classes", InvalidModelError, r"output of shape \(4, 3\) for 4 examples; .*which is \(4, 2\) here"),
        ("looking", InvalidModelError, "works by itself, but torch.func.vmap cannot train several at once"),
        ("mixing", InvalidModelError, "depends on the other examples of its batch"),
        ("frozen", InvalidModelError, r"keeps 1 of its parameters fixed \(the first is 1.bias\)"),
        ("huge", InvalidModelError, "has 1,000,001,000,000 parameters; a build trains 20 models at once, which takes"),
        ("asking", InvalidSettingError, "asks for 'depth'; for images it is called with n_classes and"),
        ("failing", InvalidSettingError, r"failing\(n_classes=2\) fails with KeyError: 'depth'"),
        ("none", InvalidSettingError, "returns a NoneType; it must return an nn.Module"),
        ("nothing", InvalidSettingError, "module 'people_nets' has no function 'nothing'"),
        ("value", InvalidSettingError, "module 'people_nets' has no function 'value'"),
    ],
)
def test_own_code_that_cannot_work_is_refused_in_a_sentence_before_any_training(nets, function, error, message):
    with pytest.raises(error, match=message) as refused:
        subject_of(f"people_nets:{function}", images())
    assert "\n" not in str(refused.value)


def test_texts_need_to_know_how_own_code_takes_them(nets):
    with pytest.raises(InvalidSettingError, match=r"must take either n_words .* or n_tokens"):
        find_model("people_nets:of_neither", "text")
    with pytest.raises(InvalidSettingError, match="asks for 'n_words'; for images"):
        find_model("people_nets:of_words", "image")


def test_a_module_that_is_missing_or_cannot_be_imported_is_named(nets):
    with pytest.raises(
        InvalidSettingError, match="no module 'no_such' here; give the command in the folder of no_such"
    ):
        find_model("no_such:net", "image")
    with pytest.raises(InvalidSettingError, match=r"no module 'people_nets\.inner' here"):
        find_model("people_nets.inner:net", "image")
    nets.write_text("import sys\nsys.exit('no')\n", encoding="utf-8")
    with pytest.raises(InvalidSettingError, match="importing people_nets fails with SystemExit: no"):
        find_model("people_nets:small", "image")


def test_weights_that_differ_for_one_seed_are_refused():
    def make() -> nn.Module:
        model = nn.Linear(3, 2)
        nn.init.constant_(model.weight, float(np.frombuffer(os.urandom(4), dtype=np.uint32)[0]))
        return model

    inputs, labels = np.zeros((4, 3), dtype=np.float32), np.zeros(4, dtype=np.int64)
    with pytest.raises(InvalidModelError, match=r"other weights each time from one seed \(the first is weight\)"):
        try_model("mine:net", make, inputs, labels, 2, label_task("image"))


def test_whether_own_code_is_here_is_found_without_running_it(nets):
    sources = find_model("people_nets:small", "image").sources
    del sys.modules["people_nets"]
    assert model_is_here("people_nets:small", sources=sources)
    assert not model_is_here("people_nets:small")  # a run that does not say which code it means
    nets.write_text(NETS + "\nraise RuntimeError('run')\n", encoding="utf-8")
    assert not model_is_here("people_nets:small", sources=sources)
    nets.unlink()
    assert not model_is_here("people_nets:small", sources=sources)
    assert "people_nets" not in sys.modules


def test_code_in_a_package_is_found_without_running_the_package(tmp_path, monkeypatch):
    package = tmp_path / "people_package" / "inner"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("raise RuntimeError('run')\n", encoding="utf-8")
    (package / "nets.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert model_is_here("people_package.inner.nets:net", sources={"code": of_nothing})
    assert not model_is_here("people_package.inner.others:net", sources={"code": of_nothing})


def test_folders_inside_folders_without_init_are_not_here(tmp_path, monkeypatch):
    inner = tmp_path / "people_space" / "v1"
    inner.mkdir(parents=True)
    (inner / "small.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not model_is_here("people_space.v1.small:f", sources={"code": "0"})
    with pytest.raises(InvalidSettingError, match=r"each folder of a package needs an __init__\.py"):
        find_model("people_space.v1.small:f", "image")


@pytest.mark.parametrize("module", ["antigravity", "test.autotest", "pytest", "trak_core.modalities.image.networks"])
def test_what_is_installed_is_never_taken_for_own_code(module):
    file = importlib.util.find_spec(module).origin
    known = {"code": hashlib.sha256(Path(file).read_bytes()).hexdigest()}
    was_here = module in sys.modules
    assert not model_is_here(f"{module}:x", sources=known)
    with pytest.raises(
        InvalidSettingError, match=r"is installed software or belongs to a run; the function must lie in"
    ):
        find_model(f"{module}:x", "image")
    assert (module in sys.modules) == was_here


def test_code_below_the_runs_is_never_taken_for_own_code(nets, tmp_path, monkeypatch):
    sources = find_model("people_nets:small", "image").sources
    assert model_is_here("people_nets:small", sources=sources)
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path))
    assert not model_is_here("people_nets:small", sources=sources)


def test_code_that_changed_after_it_was_imported_is_refused(nets):
    sources = find_model("people_nets:small", "image").sources
    nets.write_text(NETS + "\n# other\n", encoding="utf-8")
    with pytest.raises(InvalidSettingError, match=r"file of people_nets changed since .* restart the explorer"):
        find_model("people_nets:small", "image")
    nets.write_text(NETS, encoding="utf-8")
    assert find_model("people_nets:small", "image").sources == sources


def test_unknown_names_list_what_there_is():
    with pytest.raises(
        InvalidSettingError, match="mlp, cnn, resnet9, torchvision:NAME, or your own as module:function"
    ):
        find_model("transformer", "image")
    with pytest.raises(InvalidSettingError, match="words, transformer, huggingface:FOLDER, or your own"):
        find_model("nonsense", "text")
    assert not model_is_here("nonsense")
    assert all(model_is_here(name) for name in ready_models())


# --- weights to begin from ---------------------------------------------------------------------------------


def saved(tmp_path: Path, kind: str, state: dict[str, torch.Tensor]) -> Path:
    path = tmp_path / f"weights.{kind}"
    save_file(state, path) if kind == "safetensors" else torch.save({"epoch": 3, "state_dict": state}, path)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_training_begins_from_the_weights_of_a_file(nets, tmp_path, kind):
    state = {"1.weight": torch.rand(2, 16), "1.bias": torch.rand(2)}
    path = saved(tmp_path, kind, state)
    subject = subject_of("people_nets:small", images(), path)
    for model in make_models(subject.make_model, [1, 2]):
        assert {name: value.tolist() for name, value in model.state_dict().items()} == {
            name: value.tolist() for name, value in state.items()
        }
    assert subject.sources["weights"] == subject_of("people_nets:small", images(), path).sources["weights"]
    settings = BuildSettings.of(custom_recipe("image-folder", subject.dataset, "mlp"), 0, "cpu")
    assert settings.fingerprint(subject) != settings.fingerprint(subject_of("people_nets:small", images()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"1.weight": torch.zeros(3, 16)},
            r"of another shape: 1.weight is \(3, 16\) instead of \(2, 16\), and 1 of its 2",
        ),
        ({"1.bias": None}, r"missing: 1.bias of shape \(2,\), and 1 of its 2"),
        ({"extra": torch.zeros(5)}, r"unexpected: extra of shape \(5,\), and 2 of its 2"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_the_first_parameter(nets, tmp_path, change, message):
    state = {"1.weight": torch.zeros(2, 16), "1.bias": torch.zeros(2), **change}
    path = saved(tmp_path, "pt", {name: value for name, value in state.items() if value is not None})
    with pytest.raises(CheckpointMismatchError, match=message) as refused:
        subject_of("people_nets:small", images(), path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda path: torch.save(nn.Linear(2, 2), path), "asks for the code of torch.nn.modules.linear.Linear"),
        (lambda path: path.write_bytes(b""), "it is empty or cut short"),
        (lambda path: path.write_bytes(b"no weights at all"), "it is no torch file, or holds more"),
        (lambda path: path.write_text("hello world"), "cannot be read as plain weights"),
        (lambda path: path.write_text("a,b,c\n1,2,3\n"), "cannot be read as plain weights"),
        (lambda path: path.write_text("(lp0\n" * 3), "cannot be read as plain weights"),
        (lambda path: path.write_bytes(bytes(range(256))), "cannot be read as plain weights"),
        (lambda path: torch.save({0: torch.zeros(2)}, path), "a tensor is named 0, a int; names must be texts"),
        (lambda path: torch.save({"weight": torch.eye(2).to_sparse()}, path), "'weight' is sparse, quantized or"),
        (lambda path: torch.save([torch.zeros(2)], path), r"holds a list; save model\.state_dict"),
        (lambda path: path.with_suffix(".safetensors").write_bytes(b"0" * 40), None),
    ],
)
def test_files_that_are_no_plain_weights_are_never_unpickled(tmp_path, content, message):
    path = tmp_path / "weights.pt"
    content(path)
    path, message = (path, message) if message else (path.with_suffix(".safetensors"), "no readable safetensors file")
    with pytest.raises(CheckpointMismatchError, match=message) as refused:
        read_weights(path, nn.Linear(2, 2))
    assert "\n" not in str(refused.value)
    with pytest.raises(CheckpointMismatchError):
        find_model("mlp", "image", path)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.tensor([[1.0, torch.nan], [torch.inf, 1.0]]), "2 of the 4 values of 'weight' are NaN or infinite"),
        (torch.eye(2, dtype=torch.complex64), r"'weight' holds complex numbers \(torch.complex64\)"),
    ],
)
def test_weights_that_no_training_can_begin_from_are_refused(tmp_path, weight, message):
    path = saved(tmp_path, "pt", {"weight": weight, "bias": torch.zeros(2)})
    with pytest.raises(CheckpointMismatchError, match=message):
        read_weights(path, nn.Linear(2, 2))


def test_a_buffer_may_hold_infinity(tmp_path):
    model = nn.Linear(2, 2)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    assert read_weights(saved(tmp_path, "pt", model.state_dict()), model)["mask"][1] == -torch.inf


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidSettingError, match=r"none\.pt': there is no such file"):
        find_model("mlp", "image", tmp_path / "none.pt")
    assert not model_is_here("mlp", str(tmp_path / "none.pt"))


def test_weights_of_wrapped_models_are_those_of_the_model(tmp_path):
    plain = nn.Linear(2, 2).state_dict()
    state = {f"module.{name}": value for name, value in plain.items()}
    found = read_weights(saved(tmp_path, "safetensors", state), nn.Linear(2, 2))
    assert set(found) == set(plain) and all(torch.equal(found[name], plain[name]) for name in plain)


@pytest.mark.slow
def test_a_run_of_own_code_and_weights_says_whether_it_can_be_trained_again(nets, tmp_path):
    path = saved(tmp_path, "safetensors", {"1.weight": torch.rand(2, 16), "1.bias": torch.rand(2)})
    model = find_model("people_nets:small", "image", path)
    recipe = custom_recipe("image-folder", prepare(images(), model.takes), model)
    settings = BuildSettings.of(recipe, 0, "cpu", n_checkpoints=2, proj_dim=8, n_subsets=20, n_seeds=2)
    run_dir = build_run(settings, "mine", tmp_path / "runs", recipe=recipe)
    with open_run(run_dir) as run:
        assert why_not_made_again(run) is None
        _, subject = read_build(run)
        assert subject.sources == model.sources
        assert (run.info.provenance["weights"], metadata_here(run)["weights"]) == (path.name, str(path))
        assert str(tmp_path) not in str(run.rows("SELECT key, value FROM meta"))
        save_file({"1.weight": torch.rand(2, 16), "1.bias": torch.rand(2)}, path)
        with pytest.raises(RunMismatchError, match="weights of people_nets:small changed since"):
            read_subject(run)
        path.unlink()
        assert why_not_made_again(run)
        with pytest.raises(NotInRunError, match="the model 'people_nets:small', which is not here, or not as it was"):
            read_subject(run)


# --- torchvision -------------------------------------------------------------------------------------------

STAND_IN = """
from torch import nn


def list_models(module=None):
    return ["plain18", "plain34"]


def get_model(name, weights=None, num_classes=1000):
    assert name in list_models() and weights is None
    return nn.Sequential(
        nn.Conv2d(3, 12, 3),
        nn.BatchNorm2d(12),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(12, num_classes),
    )
"""


@pytest.fixture
def torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package in the place of torchvision, with one network under two names."""
    folder = tmp_path / "stand_in" / "torchvision"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "models" / "__init__.py").write_text(STAND_IN, encoding="utf-8")
    forget = [name for name in sys.modules if name.partition(".")[0] == "torchvision"]
    for name in forget:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def test_networks_of_torchvision_are_taken_without_what_mixes_examples(torchvision):
    subject = subject_of("torchvision:plain18", images())
    model = subject.make_model()
    assert chance_of(model) == []
    assert (model[1].num_groups, model[1].num_channels) == (3, 12)
    grey = torch.rand(5, 1, 4, 4)
    assert model(grey).shape == (5, 2)
    torch.testing.assert_close(model(grey), model(grey.expand(-1, 3, -1, -1)))


def test_unknown_networks_of_torchvision_bring_the_nearest_names(torchvision):
    with pytest.raises(InvalidSettingError, match=r"2 classification models, .*Did you mean 'plain18' or 'plain34'\?"):
        find_model("torchvision:plain1", "image")
    with pytest.raises(InvalidSettingError, match="takes images, and these are texts"):
        find_model("torchvision:plain18", "text")


def test_a_torchvision_made_for_another_torch_is_said_to_be_so(torchvision):
    (torchvision / "__init__.py").write_text("raise RuntimeError('operator nms does not exist')", encoding="utf-8")
    with pytest.raises(InvalidSettingError, match=r"does not work with torch .*operator nms does not exist"):
        find_model("torchvision:plain18", "image")


def test_torchvision_that_is_missing_is_a_sentence(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InvalidSettingError, match="needs the package torchvision, which is not installed"):
        find_model("torchvision:resnet18", "image")


def test_real_networks_of_torchvision_can_be_tried():
    pytest.importorskip("torchvision", exc_type=(ImportError, RuntimeError))
    for name in ("shufflenet_v2_x0_5", "squeezenet1_1"):
        assert chance_of(subject_of(f"torchvision:{name}", images(size=32)).make_model()) == []


# --- Hugging Face ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny BERT, its weights and its tokenizer."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    write_tiny_bert(folder, longest=12)
    return folder


def test_texts_are_taken_by_the_tokenizer_of_the_model(bert):
    model = find_model(f"huggingface:{bert}", "text")
    assert model.takes == Tokenizer(str(bert), 10)
    dataset = prepare(texts(), model.takes)
    assert dataset.encoding == SubwordTokens(str(bert), 7)  # [CLS], five words, [SEP]
    inputs = dataset.encoding.inputs(["good film", "unheard of"])
    assert inputs.tolist() == [[2, 10, 5, 3, 0, 0, 0], [2, 1, 1, 3, 0, 0, 0]]
    assert read_encoding(encoding_metadata(dataset.encoding)) == dataset.encoding


def test_a_tokenizer_and_weights_that_changed_are_read_again(bert, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(bert, folder)
    subject = subject_of(f"huggingface:{folder}", texts())
    before = subject.make_model().state_dict()["model.bert.embeddings.word_embeddings.weight"]
    state = load_file(folder / "model.safetensors")
    state["bert.embeddings.word_embeddings.weight"] = before + 1
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    after = subject.make_model().state_dict()["model.bert.embeddings.word_embeddings.weight"]
    torch.testing.assert_close(after, before + 1)
    assert subword_tokens.read_tokenizer(str(folder)) is (first := subword_tokens.read_tokenizer(str(folder)))
    os.utime(folder / "tokenizer_config.json", (1, 1))
    assert subword_tokens.read_tokenizer(str(folder)) is not first


def test_paths_stay_on_this_machine(tmp_path):
    metadata = {
        "model": "huggingface:/home/a:b/tiny",
        "weights": "/home/a:b/best.pt",
        "encoding": {"source": "/home/tiny"},
    }
    short = {"model": "huggingface:tiny", "weights": "best.pt", "encoding": {"source": "tiny"}}
    assert without_paths({**metadata, "title": "/x"}) == {**short, "title": "/x"}
    named = {"model": "huggingface:group/tiny", "weights": "", "encoding": None}
    assert without_paths(named) == named
    keep_local_paths(RunFiles(tmp_path), metadata)
    run = SimpleNamespace(path=tmp_path, info=SimpleNamespace(provenance={**short, "seed": 0}))
    assert metadata_here(run) == {**metadata, "seed": 0}
    run.info.provenance["weights"] = "other.pt"
    assert metadata_here(run)["weights"] == "other.pt"
    (tmp_path / "sources.json").write_text("{", encoding="utf-8")
    assert metadata_here(run) == run.info.provenance


def test_the_body_is_pretrained_and_the_head_is_fresh(bert):
    from transformers import BertModel

    pretrained = BertModel.from_pretrained(bert)
    first, second = make_models(subject_of(f"huggingface:{bert}", texts()).make_model, [1, 2])
    for name, value in pretrained.state_dict().items():
        torch.testing.assert_close(first.state_dict()[f"model.bert.{name}"], value)
        torch.testing.assert_close(second.state_dict()[f"model.bert.{name}"], value)
    assert not torch.equal(first.model.classifier.weight, second.model.classifier.weight)
    assert chance_of(first) == []


def test_logits_are_those_of_the_model_itself_and_many_run_at_once(bert):
    subject = subject_of(f"huggingface:{bert}", texts())
    models = make_models(subject.make_model, [1, 2])
    tokens = torch.from_numpy(subject.dataset.encoding.inputs(["good", "bad film music plot actor"]))
    ensemble = Ensemble.from_models(models, "cpu")
    with torch.no_grad():
        for index, model in enumerate(models):
            of_itself = model.eval().model(input_ids=tokens, attention_mask=(tokens != 0).long()).logits
            torch.testing.assert_close(model(tokens), of_itself)
            torch.testing.assert_close(ensemble.outputs(label_task("text"), tokens)[index], of_itself)


def test_models_that_bring_no_weights_tokenizer_or_padding_are_refused(bert, tmp_path):
    with pytest.raises(InvalidSettingError, match="neither a folder with a model nor the name of one"):
        find_model(f"huggingface:{tmp_path / 'none'}", "text")
    with pytest.raises(InvalidSettingError, match="takes texts, and these are images"):
        find_model(f"huggingface:{bert}", "image")
    with pytest.raises(InvalidSettingError, match="begins from the weights in its own folder; leave the file out"):
        find_model(f"huggingface:{bert}", "text", bert / "model.safetensors")
    without = tmp_path / "without"
    without.mkdir()
    for path in bert.iterdir():
        if path.suffix != ".safetensors":
            (without / path.name).write_bytes(path.read_bytes())
    torch.save({}, without / "pytorch_model.bin")
    with pytest.raises(InvalidSettingError, match=r"its weights cannot be read .* must be safetensors"):
        subject_of(f"huggingface:{without}", texts())
    (without / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidSettingError, match="its configuration cannot be read"):
        find_model(f"huggingface:{without}", "text")


def test_a_folder_that_went_away_cannot_be_made_again(bert, tmp_path):
    assert model_is_here(f"huggingface:{bert}")
    assert not model_is_here(f"huggingface:{tmp_path / 'gone'}")


@pytest.mark.slow
def test_a_build_with_a_pretrained_model_goes_to_its_end(bert, tmp_path):
    model = find_model(f"huggingface:{bert}", "text")
    recipe = custom_recipe("table", prepare(texts(), model.takes), model)
    settings = BuildSettings.of(recipe, 0, "cpu", n_checkpoints=2, proj_dim=8, n_subsets=20, n_seeds=2)
    run_dir = build_run(settings, "views", tmp_path / "runs", recipe=recipe)
    with open_run(run_dir) as run:
        assert run.scores().shape == (20, 60)
        assert run.has_lds
        _, subject = read_build(run)
        np.testing.assert_array_equal(subject.dataset.train.inputs, recipe.load().dataset.train.inputs)
        assert run.info.provenance["encoding"]["source"] == bert.name
        assert str(bert.parent) not in str(run.rows("SELECT key, value FROM meta"))


# --- what many models at once can have ---------------------------------------------------------------------


class Counting(nn.Linear):
    """A layer that keeps a count in a buffer."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, rows):
        self.count += 1
        return super().forward(rows)


def test_buffers_that_stay_as_they_are_belong_to_all_models():
    class Shifted(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.register_buffer("shift", torch.arange(3.0))

        def forward(self, rows):
            return super().forward(rows + self.shift)

    models = make_models(Shifted, [1, 2])
    ensemble, rows = Ensemble.from_models(models, "cpu"), torch.rand(4, 3)
    for index, model in enumerate(models):
        torch.testing.assert_close(ensemble.outputs(label_task("text"), rows)[index], model(rows).detach())
    with torch.no_grad():
        outputs = vmap(lambda state: functional_call(ensemble.architecture, state, (rows,)))(ensemble.parameters)
    torch.testing.assert_close(outputs, ensemble.outputs(label_task("text"), rows))


def test_buffers_that_change_are_refused():
    inputs, labels = np.zeros((4, 3), dtype=np.float32), np.zeros(4, dtype=np.int64)
    with pytest.raises(InvalidModelError, match="changes its buffer count when it is asked"):
        try_model("mine:net", Counting, inputs, labels, 2, label_task("image"))
    first, second = Counting(), Counting()
    second(torch.zeros(1, 3))
    with pytest.raises(InvalidSettingError, match="models with count cannot be trained together"):
        Ensemble.from_models([first, second], "cpu")
    assert chance_of(nn.Dropout(0.0)) == []

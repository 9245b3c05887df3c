"""Weights in the folders that Hugging Face writes, against the models that were saved there."""

import copy
import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import trak_core as tc
from tests.language import padded, tiny_gpt2, tiny_t5, tokenized, with_lora
from trak_core.errors import AttributionWarning, CheckpointMismatchError, InvalidSettingError
from trak_core.training.trained_part import save_trained

transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
TRAIN, TEST = tokenized([5, 7, 3, 9, 10]), tokenized([6, 4], seed=9)


def scores(model: nn.Module, checkpoints: Any = None, **settings: Any) -> np.ndarray:
    settings = {"progress": False, **settings}
    return tc.Attributor(model, "causal_lm", checkpoints, **settings).fit(TRAIN).score(TEST)


@pytest.mark.parametrize("size", ["5GB", "5KB"])
def test_a_folder_of_save_pretrained_is_the_model_that_was_saved(size, tmp_path):
    tiny_gpt2(1).save_pretrained(tmp_path, max_shard_size=size)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (size == "5KB")
    for given in (tmp_path, str(tmp_path), [tmp_path]):
        assert np.array_equal(scores(tiny_gpt2(0), given), scores(tiny_gpt2(1)))


def test_a_trainers_folder_holds_its_checkpoints_in_order_of_their_steps(tmp_path):
    for step in (100, 20, 3):
        tiny_gpt2(step).save_pretrained(tmp_path / f"checkpoint-{step}")
    tiny_gpt2(0).save_pretrained(tmp_path / "checkpoint-best")
    found = tc.Attributor(tiny_gpt2(0), "causal_lm", tmp_path, progress=False).checkpoints
    assert len(found) == 3
    for i, step in enumerate((3, 20, 100)):
        name = "transformer.h.0.attn.c_attn.weight"
        assert torch.equal(found.state_dict(i)[name], tiny_gpt2(step).state_dict()[name])
    chosen = [tmp_path / "checkpoint-20"]
    assert np.array_equal(scores(tiny_gpt2(0), chosen), scores(tiny_gpt2(20)))


@pytest.mark.parametrize(
    "settings", [{}, {"use_dora": True}, {"modules_to_save": ["ln_f"]}], ids=["LoRA", "DoRA", "head"]
)
def test_a_folder_of_adapters_is_put_on_the_model_that_has_such(settings, tmp_path):
    of_each = [with_lora(tiny_gpt2(0), seed, **settings) for seed in (1, 2)]
    for i, adapted in enumerate(of_each):
        adapted.save_pretrained(tmp_path / str(i))
    model = with_lora(tiny_gpt2(0), 3, **settings)
    for i, adapted in enumerate(of_each):
        assert np.array_equal(scores(model, [tmp_path / str(i)]), scores(adapted))
    both = scores(model, [tmp_path / "0", tmp_path / "1"])
    assert np.allclose(both, scores(model, [each.state_dict() for each in of_each]), atol=1e-7)


def test_adapters_alone_are_differentiated_also_when_they_were_loaded_to_be_used(tmp_path):
    with_lora(tiny_gpt2(0), 1).save_pretrained(tmp_path)
    model = peft.PeftModel.from_pretrained(tiny_gpt2(0), tmp_path)
    attributor = tc.Attributor(model, "causal_lm", progress=False).fit(TRAIN)
    assert "require gradients" in str(attributor.plan)
    assert all("lora_" in name for layer in attributor.layers for name in layer.parameters)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert np.array_equal(attributor.score(TEST), scores(with_lora(tiny_gpt2(0), 1)))


KINDS = {
    "biases too": peft.LoraConfig(r=2, target_modules=["c_attn"], bias="lora_only", fan_in_fan_out=True),
    "embeddings": peft.LoraConfig(r=2, target_modules=["wte", "c_attn"]),
    "IA3": peft.IA3Config(target_modules=["c_attn"], feedforward_modules=[], fan_in_fan_out=True),
    "a prompt": peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "prefixes": peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`", "ignore:fan_in_fan_out is set")
def test_adapters_of_every_kind_are_the_same_from_a_folder_and_loaded(kind, tmp_path):
    def adapted(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = peft.get_peft_model(tiny_gpt2(0), copy.deepcopy(KINDS[kind]))
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.data += 0.1 * torch.randn(parameter.shape)
        return model

    adapted(1).save_pretrained(tmp_path)
    expected = scores(adapted(1))
    assert np.array_equal(scores(adapted(2), [tmp_path]), expected)
    assert np.array_equal(scores(peft.PeftModel.from_pretrained(tiny_gpt2(0), tmp_path)), expected)


def test_what_was_trained_is_kept_with_a_reference_to_the_rest(tmp_path):
    trained, path = with_lora(tiny_gpt2(0), 1), tmp_path / "trained.safetensors"
    save_trained(trained, path)
    assert all("lora_" in name for name in load_file(path))
    assert np.array_equal(scores(with_lora(tiny_gpt2(0), 2), [path]), scores(trained))
    with pytest.raises(CheckpointMismatchError, match="are not those that they were trained with"):
        scores(with_lora(tiny_gpt2(5), 1), [path])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_in_bfloat16_are_taken_as_they_are(precision, tmp_path):
    tiny_gpt2(1).bfloat16().save_pretrained(tmp_path)
    half = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert half.dtype == torch.bfloat16
    found, expected = scores(half, tmp_path, precision=precision), scores(half.float())
    if precision == "float32":
        assert np.array_equal(found, expected)
    else:
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98 and not np.array_equal(found, expected)


# --- what is refused -----------------------------------------------------------------------------------------


def test_pickled_weights_are_never_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"no pickle is read")
    with pytest.raises(InvalidSettingError, match=r"pytorch_model.bin alone, which could run code.*save_pretrained"):
        scores(tiny_gpt2(), tmp_path)
    (tmp_path / "out" / "checkpoint-5").mkdir(parents=True)
    shutil.copy(tmp_path / "pytorch_model.bin", tmp_path / "out" / "checkpoint-5")
    with pytest.raises(InvalidSettingError, match=r"checkpoint-5 holds its weights as pytorch_model.bin alone"):
        scores(tiny_gpt2(), tmp_path / "out")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InvalidSettingError, match=r"nothing is a folder without model\.safetensors"):
        scores(tiny_gpt2(), [tmp_path / "nothing"])


def test_adapters_for_another_base_are_refused(tmp_path):
    for name, seed in (("base", 0), ("other", 1)):
        tiny_gpt2(seed).save_pretrained(tmp_path / name)
    load = transformers.AutoModelForCausalLM.from_pretrained
    with_lora(load(tmp_path / "base"), 1).save_pretrained(tmp_path / "adapter")
    wrong = peft.PeftModel.from_pretrained(load(tmp_path / "other"), tmp_path / "adapter")
    with pytest.raises(CheckpointMismatchError, match=r"for the base '.*base', but the model is '.*other'"):
        scores(wrong, [tmp_path / "adapter"])
    with pytest.raises(CheckpointMismatchError, match=r"but the model has none.*PeftModel.from_pretrained"):
        scores(load(tmp_path / "base"), [tmp_path / "adapter"])
    with pytest.raises(CheckpointMismatchError, match="of another shape"):
        scores(with_lora(tiny_gpt2(0, n_embd=12)), [tmp_path / "adapter"])
    shutil.move(tmp_path / "base", tmp_path / "elsewhere")
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "somewhere/elsewhere", "peft_type": "LORA"})
    )
    right = with_lora(load(tmp_path / "elsewhere"), 1)
    assert np.array_equal(scores(right, [tmp_path / "adapter"]), scores(right))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    tiny_gpt2(vocab_size=50).save_pretrained(tmp_path / "words")
    tiny_t5().save_pretrained(tmp_path / "t5")
    with pytest.raises(CheckpointMismatchError, match=r"transformer.wte.weight is \(50, 8\) instead of \(40, 8\)"):
        scores(tiny_gpt2(), tmp_path / "words")
    with pytest.raises(CheckpointMismatchError, match=r"missing: .*unexpected: "):
        scores(tiny_gpt2(), tmp_path / "t5")


def test_damaged_folders_are_refused(tmp_path):
    tiny_gpt2().save_pretrained(tmp_path, max_shard_size="5KB")
    index = tmp_path / "model.safetensors.index.json"
    first = sorted(tmp_path.glob("model-*.safetensors"))[0]
    kept = first.read_bytes()
    first.write_bytes(kept[:50])
    with pytest.raises(CheckpointMismatchError, match=f"{first.name} is missing or no readable safetensors file"):
        scores(tiny_gpt2(), tmp_path)
    first.unlink()
    with pytest.raises(CheckpointMismatchError, match=f"{first.name} is missing"):
        scores(tiny_gpt2(), tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(CheckpointMismatchError, match="names no files of this folder"):
        scores(tiny_gpt2(), tmp_path)


def test_a_folder_that_changes_later_is_noticed(tmp_path):
    tiny_gpt2(1).save_pretrained(tmp_path)
    attributor = tc.Attributor(tiny_gpt2(), "causal_lm", tmp_path, progress=False)
    path = tmp_path / "model.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    with pytest.raises(CheckpointMismatchError, match="holds other weights than when the attributor was made"):
        attributor.fit(padded(TRAIN, 10))


def test_the_same_folder_twice_draws_a_warning(tmp_path):
    tiny_gpt2(1).save_pretrained(tmp_path)
    with pytest.warns(AttributionWarning, match="checkpoints 0 and 1 hold the same weights"):
        tc.Attributor(tiny_gpt2(), "causal_lm", [tmp_path, tmp_path], progress=False)

"""Checkpoints as people have them: state dicts, files or modules."""

import hashlib
import itertools
import pickle
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trak_core.errors import AttributionWarning, CheckpointMismatchError, InvalidSettingError
from trak_core.training.adapters import read_adapters
from trak_core.training.ensemble import StateDict
from trak_core.training.folders import is_adapter, read_folder, weight_sources
from trak_core.training.names import fitting, unwrapped, weights_in
from trak_core.training.states import may_lack, misfits, not_finite
from trak_core.training.trained_part import check_frozen, frozen_sha256_of

Checkpoint = StateDict | str | Path | nn.Module
TORCH_FILES = (".pt", ".pth", ".bin", ".ckpt")


class Checkpoints:
    """The weights that attribution averages over, each loaded when it is needed.

    `sources` are state dicts, paths of .safetensors or torch files, modules, or folders with weights as Hugging Face
    writes them; one folder may stand alone. `dtype` is that of floating-point weights.

    Parameters that are frozen in the model may be left out, as checkpoints of adapters do: they are those that the
    model has now.

    Raises:
        InvalidSettingError: there are no checkpoints, or one is nothing of the kind.
        CheckpointMismatchError: weights do not fit the model; the message names the keys.
    """

    def __init__(
        self,
        model: nn.Module,
        sources: Sequence[Checkpoint] | str | Path,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        if isinstance(sources, str | Path) and Path(sources).is_dir():
            sources = [sources]
        if isinstance(sources, dict | str | Path | nn.Module):
            raise InvalidSettingError(
                "checkpoints must be a list, or a folder with weights that is there; put a single checkpoint into [ ]."
            )
        if not sources:
            raise InvalidSettingError("checkpoints=[]; give at least one, or None for the weights of the model itself.")
        sources = list(itertools.chain.from_iterable(map(_each_of, sources)))
        self._expected = {name: value.shape for name, value in _tensors(model.state_dict()).items()}
        self._aliases = _aliases(model)
        self._lacking = may_lack(model)
        self._model, self._rest = model, dict[str, Tensor]()
        # Copies: who trains on after this must not change what is attributed. Files are compared when read again.
        self._sources = [
            source
            if isinstance(source, str | Path)
            else {k: v.detach().clone() for k, v in load_weights(source, f"checkpoint {i}").items()}
            for i, source in enumerate(sources)
        ]
        self._device, self._dtype = device, dtype
        self._recent: tuple[int, StateDict] | None = None
        # Every one is read once at the start: a bad file should be found before hours of work, not after.
        self.sha256s = [digest_of(self._read(i)) for i in range(len(self._sources))]
        for i, sha256 in enumerate(self.sha256s):
            if (first := self.sha256s.index(sha256)) < i:
                warnings.warn(
                    f"checkpoints {first} and {i} hold the same weights; averaging over both costs time and adds "
                    "nothing. Give checkpoints that were trained apart from each other.",
                    AttributionWarning,
                    stacklevel=3,
                )

    def __len__(self) -> int:
        return len(self._sources)

    def state_dict(self, index: int) -> StateDict:
        """Weights of one checkpoint as they were given.

        Raises:
            CheckpointMismatchError: its file holds other weights than at first.
        """
        state = self._read(index)
        if isinstance(self._sources[index], str | Path) and digest_of(state) != self.sha256s[index]:
            raise CheckpointMismatchError(
                f"checkpoint {index} ({self._sources[index]}) holds other weights than when the attributor was made; "
                "put the file back, or make a new attributor."
            )
        return state

    def _read(self, index: int) -> StateDict:
        """Weights of one checkpoint, checked against the model."""
        source = self._sources[index]
        what = f"checkpoint {index}" + (f" ({source})" if isinstance(source, str | Path) else "")
        if not isinstance(source, str | Path):
            return self._check(source, what)
        path = Path(source)
        if is_adapter(path):
            return self._check(read_adapters(path, self._model, what), what)
        state = read_folder(path, what) if path.is_dir() else load_weights(path, what)
        if sha256 := frozen_sha256_of(path):
            check_frozen(state, sha256, self._model, what)
        return self._check(state, what)

    @torch.inference_mode(False)
    def weights(self, index: int) -> StateDict:
        """Parameters and buffers of one checkpoint on the device, detached."""
        if self._recent is None or self._recent[0] != index:
            moved = {
                name: value.to(self._device, self._dtype if value.is_floating_point() else None, copy=True)
                for name, value in self.state_dict(index).items()
            }
            self._recent = (index, moved)
        return self._recent[1]

    def all_weights(self) -> Sequence[StateDict]:
        """`weights` of all checkpoints in order, each read when it is asked for."""
        return _Loaded(self, range(len(self)))

    def _check(self, state: StateDict, what: str) -> StateDict:
        expected, lacking = self._expected, self._lacking
        found, problems = fitting(
            state, expected, lambda named: misfits(self._whole(named), expected, expected, lacking)
        )
        if problems:
            raise CheckpointMismatchError(f"{what} does not fit the model; {problems}.")
        found = self._whole(found)
        if left_out := expected.keys() - found.keys() - self._rest.keys():
            own = self._model.state_dict()
            self._rest |= {name: own[name].detach().clone() for name in left_out}
        return {name: found[name] if name in found else self._rest[name] for name in expected}

    def _whole(self, state: StateDict) -> StateDict:
        """The weights with every name of a shared tensor, which may be saved under any one of them."""
        for name, first in self._aliases.items():
            if (name in state) != (first in state):
                state = {**state, name: state.get(name, state.get(first)), first: state.get(first, state.get(name))}  # type: ignore[dict-item]
        return state


@dataclass(frozen=True)
class _Loaded(Sequence[StateDict]):
    """Weights of some checkpoints; a slice is of the same kind."""

    checkpoints: Checkpoints
    which: range

    def __len__(self) -> int:
        return len(self.which)

    @overload
    def __getitem__(self, place: int) -> StateDict: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[StateDict]: ...

    def __getitem__(self, place: int | slice) -> StateDict | Sequence[StateDict]:
        if isinstance(place, slice):
            return _Loaded(self.checkpoints, self.which[place])
        return self.checkpoints.weights(self.which[place])


def _each_of(source: Any) -> list[Any]:
    """The checkpoints that one thing in the list stands for: itself, or all in a folder."""
    return [*weight_sources(Path(source), f"checkpoint {source}")] if isinstance(source, str | Path) else [source]


def load_weights(source: Any, what: str) -> StateDict:
    """The tensors of a checkpoint by name, not compared with any model.

    Raises:
        InvalidSettingError: it is no state dict, path or module, there is no such file, or its name ends otherwise.
        CheckpointMismatchError: the file cannot be read as plain weights.
    """
    if isinstance(source, nn.Module):
        return _tensors(unwrapped(source).state_dict())
    if isinstance(source, dict):
        found: Any = source
    elif isinstance(source, str | Path):
        found = _read(Path(source), what)
    else:
        raise InvalidSettingError(
            f"{what} is a {type(source).__name__}; give a state dict, a path to a .safetensors or torch file, or an "
            "nn.Module."
        )
    state, several = weights_in(found)  # training scripts often save more than the weights
    if several:
        raise CheckpointMismatchError(
            f"{what} holds several sets of weights, under {', '.join(map(repr, several))}; give the one that is meant, "
            f"as in torch.load(path)[{several[0]!r}]."
        )
    for name, value in state.items():
        if not isinstance(name, str):
            raise CheckpointMismatchError(
                f"{what}: a tensor is named {name!r}, a {type(name).__name__}; names must be texts, as in "
                "model.state_dict()."
            )
        if value.layout is not torch.strided or value.is_quantized or value.is_meta or value.is_nested:
            raise CheckpointMismatchError(
                f"{what}: {name!r} is sparse, quantized or without values; save dense tensors."
            )
    return state


def _read(path: Path, what: str) -> Any:
    if not path.exists():
        raise InvalidSettingError(f"{what}: there is no such file.")
    is_safetensors = path.suffix == ".safetensors"
    if not is_safetensors and path.suffix not in TORCH_FILES:
        raise InvalidSettingError(
            f"{what}: files end in .safetensors, {', '.join(TORCH_FILES)}; this one ends in {path.suffix!r}."
        )
    try:
        found = load_file(path) if is_safetensors else torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InvalidSettingError(
            f"{what} cannot be read ({error.strerror or error}); give a file that can."
        ) from error
    except Exception as error:  # on bytes that are no such file, reading stumbles in any way
        reason = _why_not_plain(error)
        if is_safetensors:
            raise CheckpointMismatchError(f"{what} is no readable safetensors file ({reason}).") from error
        raise CheckpointMismatchError(
            f"{what} cannot be read as plain weights ({reason}). Files that hold more than tensors could run code when "
            "read, so they are refused: save model.state_dict() alone."
        ) from error
    if not isinstance(found, dict):
        raise CheckpointMismatchError(f"{what} holds a {type(found).__name__}; save model.state_dict().")
    return found


def _why_not_plain(error: Exception) -> str:
    if not isinstance(error, SafetensorError | pickle.UnpicklingError | RuntimeError | EOFError):
        return "it is no such file, or damaged"
    said = str(error)
    # torch first tells how to read such a file all the same, which is no advice to give.
    if code := re.search(r"Unsupported (?:global|class):? (?:GLOBAL )?([\w.]+)", said):
        return f"it asks for the code of {code[1]}"
    first = said.splitlines()[0] if said.strip() else ""
    if not first:
        return "it is empty or cut short"
    if first.startswith("Weights only load failed"):
        return "it is no torch file, or holds more"
    return first.partition(". ")[0].rstrip(".")


def _aliases(model: nn.Module) -> dict[str, str]:
    """Further names of shared parameters, to the first name of each."""
    first: dict[int, str] = {}
    named = [(name, id(parameter)) for name, parameter in model.named_parameters(remove_duplicate=False)]
    return {name: first[key] for name, key in named if first.setdefault(key, name) != name}


def _tensors(state: dict[str, Any]) -> StateDict:
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def digest_of(state: StateDict) -> str:
    """SHA-256 (hex) over names, types, shapes and values, whatever file they came from."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_weights(path: Path, model: nn.Module) -> StateDict:
    """The weights of a file that training begins from, by name, each of the shape that the model has.

    Raises:
        InvalidSettingError: there is no such file, or its name ends otherwise.
        CheckpointMismatchError: the file cannot be read as plain weights, does not fit the model, or holds weights
            that are complex or not finite.
    """
    state, what = _read_named(path), f"weights={str(path)!r}"
    expected = {name: value.shape for name, value in model.state_dict().items()}
    state, problems = fitting(state, expected, lambda named: misfits(named, expected, expected))
    if problems:
        n_fitting = sum(name in state and state[name].shape == shape for name, shape in expected.items())
        raise CheckpointMismatchError(
            f"{what} does not fit the model; {problems}, and {n_fitting} of its {len(expected)} parameters fit; give "
            "weights of this very architecture, trained on examples of this shape and as many classes."
        )
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, value in state.items():
        if value.is_complex():
            raise CheckpointMismatchError(
                f"{what}: {name!r} holds complex numbers ({value.dtype}); give weights that are real."
            )
        if n_bad := int(not_finite(name, value, parameters).sum()):
            raise CheckpointMismatchError(
                f"{what}: {n_bad:,} of the {value.numel():,} values of {name!r} are NaN or infinite; give weights of a "
                "training that went well."
            )
    return state


def begin_from(model: nn.Module, path: Path) -> nn.Module:
    """The model itself, with the weights of the file; errors are those of `read_weights`."""
    model.load_state_dict(read_weights(path, model))
    return model


def weights_digest(path: Path) -> str:
    """SHA-256 (hex) of the weights in a file, whatever its format; errors are those of `read_weights`."""
    return digest_of(_read_named(path))


def _read_named(path: Path) -> StateDict:
    if not path.is_file():
        raise InvalidSettingError(f"weights={str(path)!r}: there is no such file; give the path of a checkpoint.")
    return load_weights(path, f"weights={str(path)!r}")

"""A person's own network, by `module:function`.

The function is called with what its parameters ask for by name. A run keeps the SHA-256 of the module's file: read
again, a run names code that is run only if it is the very file that the run was built with, whoever sent the run. The
SHA-256 of what is installed here is no secret, so that only files in folders of people's own count at all.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import site
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from trak_core.errors import InvalidSettingError, running_own_code
from trak_core.folders import PACKAGE_DIR, runs_dir
from trak_core.modalities import Encoding, Modality

if TYPE_CHECKING:
    from torch import nn

_SPEC = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
N_CLASSES = "n_classes"
_READ: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
"""SHA-256 of the files of modules when they were imported: a file may change under a program that runs for days."""


def is_own_code(name: str) -> bool:
    """True when the name reads `module:function`."""
    return _SPEC.fullmatch(name) is not None


def code_digest(name: str) -> str | None:
    """SHA-256 (hex) of the file of the module, found without running anything; None when no own file is there."""
    path = _file_of(name.partition(":")[0])
    if path is None or not is_own_file(path):
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def is_own_file(path: Path) -> bool:
    """True for a file that is part neither of Python, nor of what is installed, nor of runs, nor of this program."""
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed += [*site.getsitepackages(), site.getusersitepackages()]
    folders = [runs_dir(), PACKAGE_DIR, *map(Path, installed)]
    return not any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def _file_of(module: str) -> Path | None:
    names = module.split(".")
    try:
        spec = importlib.util.find_spec(names[0])
        for depth in range(2, len(names) + 1):
            if spec is None or spec.submodule_search_locations is None:
                return None
            # `find_spec` would import the packages above.
            folders = list(spec.submodule_search_locations)
            spec = importlib.machinery.PathFinder.find_spec(".".join(names[:depth]), folders)
    except (ImportError, ValueError, KeyError):
        # KeyError: a folder without __init__.py inside another one is looked up among imported packages.
        return None
    if spec is None or not spec.origin or not spec.has_location:
        return None
    path = Path(spec.origin)
    return path if path.is_file() else None


def find_function(name: str) -> tuple[Callable[..., Any], str]:
    """The function, whose module is imported, and the SHA-256 (hex) of the module's file.

    Raises:
        InvalidSettingError: there is no such module or function, it lies in no folder of people's own, it cannot be
            imported, or it was imported before and changed since.
    """
    module, _, function = name.partition(":")
    digest = code_digest(name)
    if digest is None:
        raise InvalidSettingError(_why_not_here(name, module))
    with running_own_code(f"model={name!r}: importing {module}", InvalidSettingError):
        imported = importlib.import_module(module)
        found = getattr(imported, function, None)
    if _READ.setdefault(imported, digest) != digest:
        raise InvalidSettingError(
            f"model={name!r}: the file of {module} changed since this program read it; restart the explorer, or "
            "whatever program this is, to use it as it is now."
        )
    if not callable(found):
        raise InvalidSettingError(
            f"model={name!r}: module {module!r} has no function {function!r}; give one that returns an nn.Module."
        )
    return found, digest


def _why_not_here(name: str, module: str) -> str:
    path = _file_of(module)
    if path is None:
        inner = " (each folder of a package needs an __init__.py)" if "." in module else ""
        return (
            f"model={name!r}: there is no module {module!r} here; give the command in the folder of {module}.py, or "
            f"add that folder to PYTHONPATH{inner}."
        )
    return (
        f"model={name!r}: {path} is installed software or belongs to a run; the function must lie in a file of your "
        "own, in the folder where you give the command or in one that you added to PYTHONPATH."
    )


def wanted(name: str, function: Callable[..., Any], modality: Modality) -> tuple[str, ...]:
    """The names of what the function is called with: "n_classes" and sizes that the modality's encodings name.

    Raises:
        InvalidSettingError: it asks for something else.
    """
    sizes = tuple(dict.fromkeys(size for encoding in modality.encodings for size in encoding.size_names))
    allowed = (N_CLASSES, *sizes)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise InvalidSettingError(f"model={name!r} does not tell its parameters; wrap it in a function.") from error
    named = tuple(each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY))
    asked = tuple(each for each in named if each in allowed)
    foreign = [
        each.name
        for each in parameters
        if each.name not in allowed
        and each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if foreign or N_CLASSES not in asked:
        problem = f"asks for {foreign[0]!r}" if foreign else f"takes no {N_CLASSES}"
        raise InvalidSettingError(
            f"model={name!r} {problem}; for {modality.plural} it is called with {N_CLASSES} and, where it takes them, "
            f"{', '.join(sizes)}."
        )
    return asked


def encoding_for(name: str, asked: tuple[str, ...], modality: Modality) -> type[Encoding]:
    """The encoding whose sizes a function asks for: the only one there is, or the one whose telling size it takes.

    Raises:
        InvalidSettingError: that is none, or several.
    """
    # One that comes with a model (a tokenizer) is not learnt from examples, so that no size tells of it alone.
    telling = {encoding.size_names[0]: encoding for encoding in modality.encodings if encoding.is_learnt}
    found = [encoding for size, encoding in telling.items() if size in asked]
    if len(telling) == 1:
        found = list(telling.values())
    if len(found) != 1:
        ways = " or ".join(f"{size} ({encoding.form})" for size, encoding in telling.items())
        raise InvalidSettingError(f"model={name!r} must take either {ways}.")
    sizes = set(found[0].size_names)
    if wrong := [size for size in asked if size not in sizes and size != N_CLASSES]:
        raise InvalidSettingError(
            f"model={name!r} asks for {wrong[0]!r}, which there is not where {found[0].form}; leave it out."
        )
    return found[0]


def call_function(name: str, function: Callable[..., Any], given: Mapping[str, int]) -> nn.Module:
    """What the function returns for these values; InvalidSettingError where it fails, or returns no module."""
    from torch import nn

    called = f"{name}({', '.join(f'{key}={value}' for key, value in given.items())})"
    with running_own_code(called, InvalidSettingError):
        model = function(**given)
    if not isinstance(model, nn.Module):
        raise InvalidSettingError(f"{called} returns a {type(model).__name__}; it must return an nn.Module.")
    return model

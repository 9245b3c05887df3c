"""Subjects of people's own: read from their file, and found again for a run that was built from one.

A run names its subject's file and keeps its SHA-256. Naming is not running: the file is read only where somebody gave
it by name, or where it is the very file that the run was built from, in a folder of people's own; whoever sent the run.
What was hashed is what is run: the bytes are compiled here, so that no file of cached bytecode can stand in for them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from trak_core.errors import InvalidSettingError, running_own_code
from trak_core.registering import reading_file, register_again, was_read
from trak_core.subjects.custom_model import is_own_file
from trak_core.subjects.subject import ONE_FUNCTION, Recipe, Subject

OWN_SUBJECT = "subject"
"""In the place of a recipe's name, for runs that were built from a subject of somebody's own."""
N_REMEMBERED = 8
_remembered: OrderedDict[str, Subject] = OrderedDict()
_read: dict[tuple[Path, str], Subject] = {}


def read_subject_file(path: str | Path) -> Subject:
    """The subject that a Python file defines as `subject`, or as the function `subject()`; the file is run for it.

    Raises:
        InvalidSettingError: there is no such file, it fails, or defines no subject.
        Others that making the subject raises.
    """
    path = Path(path).expanduser().resolve()
    if path.suffix != ".py" or not path.is_file():
        raise InvalidSettingError(f"subject={str(path)!r}: there is no such Python file; give one that ends in .py.")
    content = path.read_bytes()
    return _subject_in(path, content, hashlib.sha256(content).hexdigest())


def _subject_in(path: Path, content: bytes, digest: str) -> Subject:
    if (path, digest) not in _read:
        with reading_file(digest):
            found = _defined(_run_file(path, content, digest), path)
        _read[path, digest] = replace(found, path=path, sources={"subject": digest})
    register_again(digest)
    return _read[path, digest]


def _run_file(path: Path, content: bytes, digest: str) -> ModuleType:
    module = ModuleType(f"trak_subject_{digest[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # for code that looks itself up there, as dataclasses do
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # at the end, so that nothing here is hidden by what lies beside the file
    with running_own_code(path.name, InvalidSettingError):
        exec(compile(content, str(path), "exec"), module.__dict__)
    return module


def _defined(module: ModuleType, path: Path) -> Subject:
    wanted = "give a subject = trak_core.Subject(...), or a function subject() that returns one"
    if (found := getattr(module, "subject", None)) is None:
        raise InvalidSettingError(f"{path.name} defines no subject; {wanted}.")
    if not isinstance(found, Subject) and callable(found):
        with running_own_code(f"subject() of {path.name}", InvalidSettingError):
            found = found()
    if not isinstance(found, Subject):
        raise InvalidSettingError(f"subject of {path.name} is a {type(found).__name__}; {wanted}.")
    return found


def remember(subject: Subject) -> None:
    """From now on, runs that were built from this subject find it in this process."""
    key = _key(subject.dataset.fingerprint(), dict(subject.sources))
    _remembered[key] = subject
    _remembered.move_to_end(key)
    while len(_remembered) > N_REMEMBERED:
        _remembered.popitem(last=False)


def is_built_from(made: Mapping[str, Any], subject: Subject) -> bool:
    """True when a run that tells this of itself was built from the data and the code of this subject."""
    return _key_of_run(made) == _key(subject.dataset.fingerprint(), dict(subject.sources))


def find_subject(made: Mapping[str, Any]) -> Subject | None:
    """The subject that a run was built from, if it is in this process, or its file is here and as it was; else None.

    `made` is what the run tells of itself, with the paths of this machine.
    """
    if (known := _remembered.get(_key_of_run(made))) is not None:
        register_again(_digest_of(made))
        return known
    if (path := _file_here(made)) is None:
        return None
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return _subject_in(path, content, digest) if digest == _digest_of(made) else None


def was_read_here(made: Mapping[str, Any]) -> bool:
    """Whether the subject file of a run was read in this process, as it was; what it registered is known again then."""
    register_again(_digest_of(made))
    return was_read(_digest_of(made))


def why_not_here(made: Mapping[str, Any]) -> str | None:
    """Why the subject of a run cannot be had, to go on from "run 'mine' ..."; None when it can. Runs nothing."""
    if _key_of_run(made) in _remembered:
        return None
    name = str(made.get("subject") or "")
    if not name:
        return (
            "was built from Python, and the process that holds its subject is gone; put the subject into a file and "
            "build the run from that file"
        )
    path = _file_here(made)
    if path is None:
        return (
            f"was built from {Path(name).name}, which is not here; put it back, or into the folder where this program "
            "is started, and start it again"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != _digest_of(made):
        return (
            f"was built from {path.name} as it was then, and {path} has changed since; put the old one back, or build "
            "the run again under another name"
        )
    return None


def _key_of_run(made: Mapping[str, Any]) -> str:
    return _key(made.get("data_fingerprint"), made.get("sources") or {})


def _key(data_fingerprint: Any, sources: Any) -> str:
    return json.dumps([data_fingerprint, sources], sort_keys=True)


def _file_here(made: Mapping[str, Any]) -> Path | None:
    """The file that a run names, where it was built here or lies in the current folder; never one of other people's."""
    name = made.get("subject")
    if not isinstance(name, str) or not name.endswith(".py"):  # a run from elsewhere may say anything
        return None
    for path in (Path(name), Path.cwd() / Path(name).name):
        try:
            if path.is_absolute() and path.is_file() and is_own_file(path):
                return path.resolve()
        except OSError:
            continue
    return None


def _digest_of(made: Mapping[str, Any]) -> str:
    sources = made.get("sources")
    return str(sources.get("subject", "")) if isinstance(sources, dict) else ""


def subject_recipe(subject: Subject, metadata: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe that builds a run from a subject; `metadata` is for provenance, as `Recipe` has it."""
    dataset = subject.dataset
    told = {
        "subject": "" if subject.path is None else str(subject.path),
        "sources": dict(subject.sources),
        **({} if subject.can_train else {"notes": [f"No model was retrained. {ONE_FUNCTION}."]}),
    }
    return Recipe(
        name=OWN_SUBJECT,
        title=dataset.name or subject.name,
        description=f"{len(dataset.train):,} training and {len(dataset.test):,} test examples, and your own model.",
        load=lambda: subject,
        n_checkpoints=len(subject.checkpoints) or 5,
        proj_dim=128,
        n_subsets=100 if subject.can_train else 0,
        n_seeds=2 if subject.can_train else 0,
        metadata={**told, **(metadata or {})},
    )

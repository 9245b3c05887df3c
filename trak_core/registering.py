"""Which names subject files took in a registry: a file that is read may take those of one that was read before.

So a file can be edited and read again, and two files may define the same modality. Names of this program, and names
that were taken from Python, stay as they are. Each file gets its own back by `register_again`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_Entries = list[tuple[Callable[[Any], Any], Any]]
"""The functions that registered something, each with what it registered."""

_now: ContextVar[_Entries | None] = ContextVar("what the file that is being read has registered", default=None)
_of_files: dict[str, _Entries] = {}
_owners: dict[tuple[str, str], _Entries] = {}


@contextmanager
def reading_file(digest: str) -> Iterator[None]:
    """What is registered in here belongs to the file with this SHA-256."""
    entries: _Entries = []
    with _registering_for(entries):
        yield
    _of_files[digest] = entries


@contextmanager
def _registering_for(entries: _Entries) -> Iterator[None]:
    token = _now.set(entries)
    try:
        yield
    finally:
        _now.reset(token)


def was_read(digest: str) -> bool:
    """Whether the file with this SHA-256 has been read in this process."""
    return digest in _of_files


def is_of_file(register: Callable[[Any], Any], name: str) -> bool:
    """Whether a file took the name."""
    return (register.__name__, name) in _owners


def may_replace(register: Callable[[Any], Any], name: str) -> bool:
    """Whether a file is being read, and the name is one that another file took, or the same one when read before."""
    now, owner = _now.get(), _owners.get((register.__name__, name))
    return now is not None and owner is not None and owner is not now


def note_registered(register: Callable[[Any], Any], made: Any, replaced: tuple[str, ...] = ()) -> None:
    """Notes what was registered under `made.name`, and the names that went for it."""
    for name in (*replaced, made.name):
        _owners.pop((register.__name__, name), None)
    if (now := _now.get()) is not None:
        _owners[register.__name__, made.name] = now
        if not any(made is one for _, one in now):
            now.append((register, made))


def register_again(digest: str) -> None:
    """Registers again what a file registered when it was read, where another file has taken the name since."""
    entries = _of_files.get(digest, [])
    with _registering_for(entries):
        for register, made in list(entries):
            if _owners.get((register.__name__, made.name)) is not entries:
                register(made)

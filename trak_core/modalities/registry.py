"""The modalities by name. A new one is a folder beside this file and a word in its last lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trak_core.errors import MADE_WITHOUT_ARGUMENTS, InvalidSettingError, StoreDamagedError, running_own_code
from trak_core.media import Medium
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.image.modality import ImageModality
from trak_core.modalities.modality import Modality
from trak_core.modalities.numbers.modality import NumberModality
from trak_core.modalities.passage.modality import PassageModality
from trak_core.modalities.text.modality import TextModality
from trak_core.modalities.text_pair.modality import TextPairModality
from trak_core.registering import may_replace, note_registered

MODALITIES: dict[str, Modality] = {}


def register_modality(modality: Modality | type[Modality]) -> None:
    """Makes a modality known under its name. A subject file may replace one of a file read before.

    Raises:
        InvalidSettingError: its name or the kind of an encoding is taken, or it is not complete.
    """
    made = _instance(modality)
    kinds = [encoding.kind for encoding in made.encodings]
    replaced = []
    for other in MODALITIES.values():
        twice = [encoding.kind for encoding in other.encodings if encoding.kind in kinds]
        if other.name != made.name and not twice:
            continue
        if may_replace(register_modality, other.name):
            replaced.append(other.name)
        elif other.name == made.name:
            raise InvalidSettingError(
                f"there is a modality {made.name!r} already, {type(other).__name__}; give {type(made).__name__} "
                "another name."
            )
        else:
            raise InvalidSettingError(
                f"modality {made.name!r} has an encoding {twice[0]!r}, and so has {other.name!r}; give it another kind."
            )
    for name in replaced:
        del MODALITIES[name]
    MODALITIES[made.name] = made
    note_registered(register_modality, made, tuple(replaced))


def _instance(modality: Modality | type[Modality]) -> Modality:
    kind = modality if isinstance(modality, type) else type(modality)
    missing = [] if issubclass(kind, Modality) else ["the base class Modality"]
    missing += sorted(getattr(kind, "__abstractmethods__", ()))
    missing += [name for name in ("name", "noun", "plural") if not _is_word(getattr(kind, name, None))]
    encodings = getattr(kind, "encodings", ())
    if isinstance(encodings, tuple | list):
        missing += [lack for encoding in encodings for lack in _lacks_of_encoding(encoding)]
    else:
        missing.append("a tuple of Encoding classes as encodings")
    if missing:
        raise InvalidSettingError(
            f"{kind.__name__} is no complete modality: it lacks {', '.join(missing)}; see docs/adding-a-modality.md."
        )
    if not isinstance(modality, type):
        return modality
    with running_own_code(f"making the modality by {kind.__name__}()", InvalidSettingError, MADE_WITHOUT_ARGUMENTS):
        return modality()


def _lacks_of_encoding(encoding: Any) -> list[str]:
    if not (isinstance(encoding, type) and issubclass(encoding, Encoding)):
        return [f"the base class Encoding of {getattr(encoding, '__name__', repr(encoding))} in encodings"]
    missing = sorted(getattr(encoding, "__abstractmethods__", ()))
    missing += [] if _is_word(getattr(encoding, "kind", None)) else ["kind"]
    return [f"{encoding.__name__}.{name}" for name in missing]


def _is_word(given: Any) -> bool:
    return isinstance(given, str) and bool(given.strip())


def find_modality(name: str) -> Modality:
    """The modality of that name.

    Raises:
        InvalidSettingError: there is none.
    """
    if name not in MODALITIES:
        raise InvalidSettingError(
            f"modality={name!r}; it must be one of: {', '.join(MODALITIES)}. Make another one known by "
            "register_modality before it is needed."
        )
    return MODALITIES[name]


def seen_in(inputs: Any) -> list[tuple[Medium, ...]] | None:
    """What inputs look like that somebody brought without media; None where no modality knows."""
    found = (modality.seen_in(inputs) for modality in MODALITIES.values())
    return next((media for media in found if media is not None), None)


def encoding_metadata(encoding: Encoding | None) -> dict[str, Any] | None:
    """The encoding as a run keeps it under "encoding", its kind included; None where there is none."""
    return None if encoding is None else {"kind": encoding.kind, **encoding.metadata()}


def read_encoding(kept: Mapping[str, Any] | None) -> Encoding | None:
    """The encoding that a run keeps, exactly as it was; None where it keeps none, or one of a kind not known here.

    Raises:
        StoreDamagedError: it is of a known kind, but not whole.
    """
    try:
        kinds = {encoding.kind: encoding for modality in MODALITIES.values() for encoding in modality.encodings}
        found = kinds.get(kept["kind"]) if kept else None
        return None if kept is None or found is None else found.from_metadata(kept)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreDamagedError(
            f"what the run keeps of how its examples become inputs is not whole ({type(error).__name__}: {error}); "
            "build it again from its data."
        ) from error


for _modality in (ImageModality, TextModality, PassageModality, TextPairModality, NumberModality):
    register_modality(_modality)

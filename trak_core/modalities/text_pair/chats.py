"""Conversations: as one readable text, back to their turns, and as the chat template of a tokenizer writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from trak_core.errors import InvalidDataError
from trak_core.modalities.text.subword_tokens import first_line, read_tokenizer

ROLES = ("system", "developer", "user", "assistant", "tool")
ASSISTANT = "assistant"
_HEADS = re.compile(rf"^({'|'.join(ROLES)}): ", re.MULTILINE)
_LOOKS_LIKE_HEAD = re.compile(rf"^(\\*(?:{'|'.join(ROLES)}): )", re.MULTILINE)
_ESCAPED = re.compile(rf"^\\(\\*(?:{'|'.join(ROLES)}): )", re.MULTILINE)


class Turn(NamedTuple):
    """What one side of a conversation says at once."""

    role: str  # one of `ROLES`
    said: str
    start: int = 0  # first character of what is said, in the text of the conversation


class Written(NamedTuple):
    """A prompt and its completion as a model reads them."""

    prompt: str
    completion: str
    # where stretches of the texts that people see stand in these: start there, start here, length
    of_prompt: tuple[tuple[int, int, int], ...]
    of_completion: tuple[tuple[int, int, int], ...]


def in_one_text(turns: Sequence[Turn]) -> str:
    """The turns of a conversation as people read them, "user: ..." each; `turns_of` reads them back."""
    return "\n".join(turn.role + ": " + _LOOKS_LIKE_HEAD.sub(r"\\\1", turn.said) for turn in turns)


def turns_of(text: str) -> list[Turn]:
    """The turns of a conversation that `in_one_text` wrote; a text without any is what the user says."""
    heads = list(_HEADS.finditer(text))
    if not heads or heads[0].start() > 0:
        return [Turn("user", text)]
    ends = [head.start() - 1 for head in heads[1:]] + [len(text)]
    return [
        Turn(head[1], _ESCAPED.sub(r"\1", text[head.end() : end]), head.end())
        for head, end in zip(heads, ends, strict=True)
    ]


def has_template(source: str) -> bool:
    """Whether a tokenizer has a chat template."""
    return bool(getattr(read_tokenizer(source), "chat_template", None))


def written(source: str, prompt: str, completion: str, by_template: bool, has_turns: bool) -> Written:
    """A prompt and its completion by the chat template of a tokenizer, or as they stand.

    Args:
        source: folder or name of the tokenizer.
        prompt: what is given; a conversation where it has turns.
        completion: what the assistant is to say.
        by_template: whether the template is applied, with its beginning of an answer behind the prompt.
        has_turns: whether the prompt is a conversation; it is what the user says otherwise.

    Raises:
        InvalidDataError: the template refuses the conversation.
    """
    if not by_template:
        head = f"\n{ASSISTANT}: " if has_turns else ""
        return Written(prompt + head, completion, ((0, 0, len(prompt)),), ((0, 0, len(completion)),))
    turns = turns_of(prompt) if has_turns else [Turn("user", prompt)]
    asked = _by_template(source, turns, True)
    whole = _by_template(source, [*turns, Turn(ASSISTANT, completion)], False)
    told = whole[len(asked) :] if whole.startswith(asked) else completion
    return Written(asked, told, tuple(_found(turns, asked)), tuple(_found([Turn(ASSISTANT, completion)], told)))


def _by_template(source: str, turns: Sequence[Turn], to_be_answered: bool) -> str:
    messages = [{"role": turn.role, "content": turn.said} for turn in turns]
    tokenizer: Any = read_tokenizer(source)
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=to_be_answered))
    except Exception as error:  # templates are programs
        roles = ", ".join(turn.role for turn in turns)
        raise InvalidDataError(
            f"the chat template of {source!r} refuses a conversation of {roles} ({first_line(error)}); mend the turns "
            "in the table, or give --no-chat-template."
        ) from error


def _found(turns: Sequence[Turn], text: str) -> Iterator[tuple[int, int, int]]:
    """Where what is said stands in a text; templates may leave out blanks around it."""
    place = 0
    for turn in turns:
        said = turn.said.strip()
        if not said or (there := text.find(said, place)) < 0:
            continue
        place = there + len(said)
        here = turn.start + turn.said.find(said)
        for line in re.split("(?<=\n)", said):
            here += bool(turn.start and _LOOKS_LIKE_HEAD.match(line))  # it is escaped where people see it
            yield there, here, len(line)
            there, here = there + len(line), here + len(line)

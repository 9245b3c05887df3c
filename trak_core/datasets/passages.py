"""Texts cut into passages of a few dozen tokens, for language models."""

from trak_core.modalities.text.subword_tokens import token_spans


def cut_into_passages(text: str, tokenizer: str, length: int, least: int = 2) -> list[str]:
    """The passages of a text, one after another, each of as many words as make up to `length` tokens.

    A passage ends where a blank or a new line follows, so that none begins inside a word; a word of more tokens than
    that is cut. Alone a passage may have one token more, because its first word has lost its blank. What is left at the
    end with fewer than `least` tokens is left out.

    Args:
        text: of any length.
        tokenizer: folder or name of the tokenizer that counts.
        length: most tokens of a passage, from 2.
        least: tokens of the shortest passage that is worth having.
    """
    ends = [end for _, end in token_spans(tokenizer, text, with_marks=False)]
    passages, start, first = [], 0, 0
    while first < len(ends):
        stop = min(len(ends), first + length)
        cut = stop
        if stop < len(ends):
            cut = next((place for place in range(stop, first, -1) if _is_border(text, ends[place - 1])), stop)
        passage = text[start : ends[cut - 1]].strip()
        if passage and cut - first >= least:
            passages.append(passage)
        start, first = ends[cut - 1], cut
    return passages


def _is_border(text: str, end: int) -> bool:
    return end >= len(text) or text[end].isspace() or text[end - 1].isspace()

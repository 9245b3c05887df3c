"""What is attributed, under one name: data, model, task and training; recipes, custom data and the subject of a run."""

import difflib

from trak_core.errors import UnknownRecipeError
from trak_core.subjects.custom_data import custom_recipe
from trak_core.subjects.digits import DIGITS
from trak_core.subjects.docs_bert import DOCS_BERT
from trak_core.subjects.docs_lm import DOCS_LM
from trak_core.subjects.docs_t5 import DOCS_T5
from trak_core.subjects.docstrings import DOCSTRINGS
from trak_core.subjects.models_by_name import find_model
from trak_core.subjects.subject import Recipe, Subject
from trak_core.subjects.subject_file import OWN_SUBJECT, read_subject_file, remember, subject_recipe

__all__ = [
    "OWN_SUBJECT",
    "RECIPES",
    "Recipe",
    "Subject",
    "custom_recipe",
    "find_model",
    "find_recipe",
    "read_subject_file",
    "remember",
    "subject_recipe",
]

RECIPES = {recipe.name: recipe for recipe in (DIGITS, DOCSTRINGS, DOCS_LM, DOCS_BERT, DOCS_T5)}
"""The recipes by name. A new one is a file in this folder and a word in this line."""


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownRecipeError: there is none; the message names the nearest and lists all.
    """
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownRecipeError(f"no recipe {name!r}; there are: {', '.join(RECIPES)}.{hint}")

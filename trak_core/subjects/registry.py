"""The recipes by name. A new one is a file in this folder and a word in this line."""

import difflib

from trak_core.errors import UnknownRecipeError
from trak_core.subjects.digits import DIGITS
from trak_core.subjects.docstrings import DOCSTRINGS
from trak_core.subjects.recipe import Recipe

RECIPES = {recipe.name: recipe for recipe in (DIGITS, DOCSTRINGS)}


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

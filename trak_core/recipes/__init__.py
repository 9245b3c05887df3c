"""Ready-made subjects under one name each: data, model, task and training settings."""

from trak_core.recipes.digits import DIGITS
from trak_core.recipes.docstrings import DOCSTRINGS
from trak_core.recipes.own import OWN_DATA, own_recipe, own_subject
from trak_core.recipes.recipe import Recipe, Subject, find_recipe

__all__ = ["OWN_DATA", "RECIPES", "Recipe", "Subject", "find_recipe", "own_recipe", "own_subject"]

RECIPES = {recipe.name: recipe for recipe in (DIGITS, DOCSTRINGS)}

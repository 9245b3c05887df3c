"""Ready-made subjects under one name each: data, model, task and training settings."""

from trak_core.recipes.digits import DIGITS
from trak_core.recipes.docstrings import DOCSTRINGS
from trak_core.recipes.recipe import Recipe, Subject, find_recipe

__all__ = ["RECIPES", "Recipe", "Subject", "find_recipe"]

RECIPES = {recipe.name: recipe for recipe in (DIGITS, DOCSTRINGS)}

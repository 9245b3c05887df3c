"""What is attributed, under one name: data, model, task and training; recipes, custom data and the subject of a run."""

from trak_core.subjects.custom_data import custom_recipe, custom_subject
from trak_core.subjects.models_by_name import find_model, model_is_here
from trak_core.subjects.recipe import Recipe
from trak_core.subjects.registry import RECIPES, find_recipe
from trak_core.subjects.subject import Subject
from trak_core.subjects.subject_file import OWN_SUBJECT, read_subject_file, remember, subject_recipe

__all__ = [
    "OWN_SUBJECT",
    "RECIPES",
    "Recipe",
    "Subject",
    "custom_recipe",
    "custom_subject",
    "find_model",
    "find_recipe",
    "model_is_here",
    "read_subject_file",
    "remember",
    "subject_recipe",
]

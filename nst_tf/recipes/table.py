"""The recipes, one row each. No TensorFlow."""

from nst_tf.recipes.stylize_recipe import STYLIZE
from nst_tf.runs.recipe import Recipe

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (STYLIZE,)}

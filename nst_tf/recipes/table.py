"""The recipes, one row each. No TensorFlow."""

from nst_tf.recipes.compare_recipe import COMPARE
from nst_tf.recipes.dream_recipe import DREAM
from nst_tf.recipes.export_recipe import EXPORT
from nst_tf.recipes.filters_recipe import FILTERS
from nst_tf.recipes.gallery import GALLERY
from nst_tf.recipes.stylize_recipe import STYLIZE
from nst_tf.recipes.units_recipe import UNITS
from nst_tf.runs.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (STYLIZE, DREAM, UNITS, COMPARE, EXPORT, FILTERS, GALLERY)}

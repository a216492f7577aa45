"""The recipes, one row each. No TensorFlow."""

from nst_tf.recipes.batch.recipe import BATCH
from nst_tf.recipes.compare.recipe import COMPARE
from nst_tf.recipes.dream.recipe import DREAM
from nst_tf.recipes.export.recipe import EXPORT
from nst_tf.recipes.fast.recipe import FAST
from nst_tf.recipes.filters.recipe import FILTERS
from nst_tf.recipes.gallery import GALLERY
from nst_tf.recipes.signal.recipe import SIGNAL
from nst_tf.recipes.stylize.recipe import STYLIZE
from nst_tf.recipes.sweep.recipe import SWEEP
from nst_tf.recipes.units.recipe import UNITS
from nst_tf.recipes.video.recipe import VIDEO
from nst_tf.recipes.weights import WEIGHTS
from nst_tf.runs.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (
        STYLIZE, DREAM, SIGNAL, VIDEO, FAST, UNITS, BATCH, SWEEP, COMPARE, EXPORT, FILTERS, GALLERY, WEIGHTS)}

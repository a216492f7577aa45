"""Each list of names equals the keys of its table."""

from nst_tf import vocabulary
from nst_tf.backbones.signal_networks import BANKS
from nst_tf.backbones.table import BACKBONES
from nst_tf.io.images import ENCODERS
from nst_tf.losses.content import CONTENT_DISTANCES
from nst_tf.losses.objective import DEFAULT_WEIGHTS
from nst_tf.losses.statistics import STATISTICS, STYLE_DISTANCES
from nst_tf.optimize.canvas import CANVASES
from nst_tf.optimize.first_image import INITIALIZERS
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.recipes.stylize.finish import COLORS
from nst_tf.vocabulary import names


def test_names_equal_the_tables() -> None:
    for literal, table in ((vocabulary.BackboneName, BACKBONES), (vocabulary.CanvasName, CANVASES),
                           (vocabulary.ColorName, COLORS), (vocabulary.InitName, INITIALIZERS),
                           (vocabulary.NormalizationName, CONTENT_DISTANCES),
                           (vocabulary.NormalizationName, STYLE_DISTANCES),
                           (vocabulary.NormalizationName, DEFAULT_WEIGHTS), (vocabulary.OptimizerName, OPTIMIZERS),
                           (vocabulary.SignalBackboneName, BANKS), (vocabulary.StatisticName, STATISTICS),
                           (vocabulary.OutputFormat, ENCODERS)):
        assert names(literal) == tuple(table)


def test_unknown_names_give_the_nearest_and_all() -> None:
    error = str(vocabulary.unknown("--backbone", "vgg91", ["vgg19", "kmeans"]))
    assert error == "--backbone 'vgg91' is unknown, did you mean 'vgg19'? Valid: vgg19, kmeans"
    assert str(vocabulary.unknown("--x", "zzz", ["a"])) == "--x 'zzz' is unknown. Valid: a"

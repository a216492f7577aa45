"""What a network says of the classes that a run raises: "how likely is it that the picture contains a dog"."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.backbones.table import Backbone
from nst_tf.io import images
from nst_tf.io.images import FloatImage
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Writer, Written
from nst_tf.strips import Picture
from nst_tf.tensors import Features, Tensor

# The classifiers were trained on objects that fill pictures of 224 to 299 px. A pattern that fools the network at one
# size alone, and shows no person anything, does not count at another.
CLASS_SIDE_PX = 256
# A run prints so many classes.
MOST_PRINTED = 5


class Score(NamedTuple):
    """The logit of a class, the mean over the positions of its map, and its share of the softmax of all logits."""

    logit: float
    probability: float


@dataclass(frozen=True)
class ClassMeter:
    """Measures some classes in whole pictures, all at one size.

    The long side is `CLASS_SIDE_PX`, or `size_px` where that is less, and as long as `smallest_px`, the least side that
    the network takes, needs it.
    """

    row: Backbone
    extract: Callable[[Tensor], Features]
    classes: tuple[int, ...]
    size_px: int
    smallest_px: int

    def __call__(self, picture: FloatImage) -> dict[int, Score]:
        """{class: score} of a picture [H, W, 3 or 4]."""
        assert self.row.classifier is not None
        height, width = picture.shape[:2]
        needed_px = -(-self.smallest_px * max(height, width) // min(height, width))
        side_px = max(min(CLASS_SIDE_PX, self.size_px), needed_px)
        resized = images.resize(picture[..., :3], *images.fit(side_px, width, height))
        logits = tf.reduce_mean(self.extract(tf.constant(resized[None]))[self.row.classifier.scores], axis=(0, 1, 2))
        shares = tf.nn.softmax(logits)
        return {number: Score(float(logits[number]), float(shares[number])) for number in self.classes}

    def losses(self, picture: FloatImage) -> dict[str, float]:
        """The logits by tag, for rows and TensorBoard; without those that are not finite, which hinder no step."""
        return {f"class/{self.name(number)}": score.logit for number, score in self(picture).items()
                if math.isfinite(score.logit)}

    def name(self, number: int) -> str:
        """A class as it is printed."""
        assert self.row.classifier is not None
        return self.row.channel_name(self.row.classifier.scores, number)

    def lines(self, pictures: Sequence[FloatImage]) -> tuple[str, ...]:
        """What a run prints of its first classes: how they are seen in each picture."""
        scores = [self(picture) for picture in pictures]
        return tuple(
            f"class:       {self.name(number)}, "
            f"probability {' → '.join(f'{100 * of_picture[number].probability:.3g} %' for of_picture in scores)}, "
            f"logit {' → '.join(f'{of_picture[number].logit:.3g}' for of_picture in scores)}"
            for number in self.classes[:MOST_PRINTED])


def telling(write: Writer, meter: ClassMeter, photo: Picture | None) -> Writer:
    """A writer that also prints how the classes are seen in the photo, if there is one, and in the last picture."""
    photos = [] if photo is None else [np.asarray(photo)]

    def write_and_tell(last: Progress | None) -> Written:
        written = write(last)
        return written._replace(lines=(*meter.lines([*photos, last.picture()]), *written.lines)) if last else written

    return write_and_tell

"""The same network with other pooling, other borders and other numbers: a rewrite of its Keras graph.

Every network is built as it was trained; `vary` then replaces single layers and keeps all weights.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nst_tf.backbones.borders import Pad
from nst_tf.backbones.extractor import Adapted, Extractor
from nst_tf.backbones.first_convolution import FirstConvolution
from nst_tf.backbones.table import Variant
from nst_tf.grammar import Padding
from nst_tf.tensors import BINOMIAL, Tensor, shape_of, with_gradient


def l2(x: Tensor, pool_px: int, stride: int, padding: str) -> Tensor:
    """√(mean x²) over each window. ε keeps the gradient finite where a window is 0."""
    # In float32: the square of an activation above 255 is no float16.
    squares = tf.nn.avg_pool2d(tf.square(tf.cast(x, tf.float32)), pool_px, stride, padding)
    return tf.cast(tf.sqrt(squares + 1e-6), x.dtype)


# [B, H, W, C], window, stride, "SAME" or "VALID" → the pooled map; what lies outside the map does not count in any.
POOLINGS: dict[str, Callable[[Tensor, int, int, str], Tensor]] = {
    "max": tf.nn.max_pool2d, "average": tf.nn.avg_pool2d, "l2": l2}


def _binomial_kernel(channels: Tensor | int, dtype: tf.DType) -> Tensor:
    one = np.outer(BINOMIAL, BINOMIAL)[..., None, None]
    return (tf.constant(np.repeat(one, channels, 2), dtype) if isinstance(channels, int)
            else tf.tile(tf.constant(one, dtype), [1, 1, channels, 1]))


def _spread(_: list[Tensor], __: list[Tensor], g: Tensor, sides: Tensor) -> tuple[Tensor]:
    # In float32: TensorFlow's kernel for bfloat16 takes four times as long as this and both casts.
    shape, sides_px = shape_of(g), shape_of(sides)[:2]
    spread = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=[shape[0], sides_px[0], sides_px[1], shape[3]],
        filter=_binomial_kernel(shape[3], tf.float32), out_backprop=tf.cast(g, tf.float32), strides=[1, 2, 2, 1],
        padding="VALID")
    return (tf.cast(spread, g.dtype),)


@with_gradient(_spread)
def _halved(x: Tensor) -> tuple[Tensor, Tensor]:
    """x behind a `BinomialPooling`, and an empty [H, W, 0], by whose gradient the gradient of x knows its sides."""
    kernel = _binomial_kernel(tf.shape(x)[3] if x.shape[3] is None else x.shape[3], x.dtype)
    sides_px = shape_of(x)[1:3]
    return (tf.nn.depthwise_conv2d(x, kernel, [1, 2, 2, 1], "VALID"),
            tf.zeros([sides_px[0], sides_px[1], 0], x.dtype))


class BinomialPooling(keras.layers.Layer):
    """Halves the size behind a `Pad` of 1, with the kernel (1 2 1)ᵀ(1 2 1)/16.

    The halved grid cannot hold the finest frequencies. The kernel passes far less of them than a 2×2 average does, so
    the optimizer cannot hide woven noise there (Zhang 2019, "Making convolutional networks shift-invariant again").
    """

    pool_size, strides, padding = (3, 3), (2, 2), "valid"

    def call(self, x: Tensor) -> Tensor:
        """[B, H + 2, W + 2, C] → [B, ⌈H/2⌉, ⌈W/2⌉, C]."""
        return _halved(x)[0]


class SwappedPooling(keras.layers.Layer):
    """A row of `POOLINGS` times a scale, in place of another pool."""

    def __init__(self, pooling: str, scale: float, pool_px: int, stride: int, padding: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pooling, self.pool_px, self.stride, self.padding = pooling, pool_px, stride, padding
        # A variable, since it follows from the pictures of a job and a compiled step serves many jobs.
        self.scale = self.add_weight(shape=(), initializer=keras.initializers.Constant(scale), trainable=False,
                                     name="scale")

    @classmethod
    def like(cls, pool: keras.layers.Layer, pooling: str, scale: float) -> "SwappedPooling":
        """The windows of `pool`: a `MaxPooling2D` or a `BinomialPooling`."""
        return cls(pooling, scale, pool.pool_size[0], pool.strides[0], pool.padding.upper(), name=pool.name)

    def call(self, x: Tensor) -> Tensor:
        """[B, H, W, C] → a map of the size that the replaced pool makes."""
        return self.scale * POOLINGS[self.pooling](x, self.pool_px, self.stride, self.padding)

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return super().get_config() | {"pooling": self.pooling, "scale": float(self.scale), "pool_px": self.pool_px,
                                       "stride": self.stride, "padding": self.padding}


def pooling_scale(pool: keras.layers.Layer, pooling: str, inputs: Sequence[Tensor]) -> float:
    """√(Σ pool(x)² / Σ swapped(x)²) over some inputs x of a pool: the next layer then sees values of the usual size.

    Source: crowsonkb/style-transfer-pytorch multiplies by constants fitted to VGG19 (2 for average, 0.78 for l2).
    """
    # Differs from crowsonkb: measured on the pictures at hand, so that it holds for every network.
    swapped = SwappedPooling.like(pool, pooling, 1.0)

    def energy(layer: keras.layers.Layer) -> float:
        return sum(float(tf.reduce_sum(tf.square(layer(x)))) for x in inputs)

    return float(np.sqrt(energy(pool) / max(energy(swapped), 1e-12)))


def power_of_two_above(x: Tensor) -> Tensor:
    """2^⌈log₂ x⌉ for a scalar x > 0, up to the rounding of the logarithm, itself an exact power; 1 for 0."""
    exponent = tf.math.ceil(tf.math.log(tf.maximum(x, 1e-38)) / tf.math.log(2.0))
    return tf.where(x > 0, tf.pow(2.0, exponent), 1.0)


def _multiply(_: list[Tensor], __: list[Tensor], g: Tensor, scale: Tensor) -> tuple[Tensor]:
    return (scale * g,)


@with_gradient(_multiply)
def _multiplied(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns x and 0. The gradient of the 0 multiplies the gradient of x."""
    return tf.identity(x), tf.zeros([])


def _divide(_: list[Tensor], __: list[Tensor], *gradients: Tensor) -> tuple[Tensor, ...]:
    scale = power_of_two_above(tf.reduce_max(tf.stack([tf.reduce_max(tf.abs(g)) for g in gradients])))
    return scale, *(g / scale for g in gradients)


@with_gradient(_divide)
def _divided(scale: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
    """The features, whose gradients are divided by a power of two; the gradient of `scale` is this power."""
    return tuple(map(tf.identity, features))


class ScaledGradient:
    """Divides the gradients of a model's features by their largest value before back-propagation.

    In `relative` they are as small as 1e-10, which float16 would round to 0. The divisor is the next power of two, so
    nothing is rounded by it, and it is taken back at the picture.

    Source: loss scaling, Micikevicius et al. 2018.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def __call__(self, image: Tensor, training: bool = False) -> Mapping[str, Tensor]:
        x, scale = _multiplied(image)
        features = self._model(x, training=training)
        return dict(zip(features, _divided(scale, *features.values()), strict=True))

    def get_layer(self, name: str) -> keras.layers.Layer:
        """A layer of the model."""
        return self._model.get_layer(name)

    def count_params(self) -> int:
        """How many numbers the network holds."""
        return int(self._model.count_params())


ScaleMeter = Callable[[Sequence[np.ndarray], Sequence[Tensor]], dict[str, float]]

# What `--pooling` replaces; the average pools inside Inception's blocks are no reduction of size.
_POOLS = (keras.layers.MaxPooling2D, BinomialPooling)


def vary(extractor: Extractor, variant: Variant, pictures: Sequence[np.ndarray], unpadded_px: int) -> Extractor:
    """The extractor of a variant.

    Args:
        pictures: float32 [H, W, 3] in [0, 1], on which the scale of swapped pools is measured; without any it is 1
            until the extractor adapts.
        unpadded_px: width of the border that the network's convolutions without padding lose.
    """
    if not isinstance(extractor.model, keras.Model):  # exported: as it is
        return extractor
    model, own_layers, adapter = extractor.model, extractor.own_layers, extractor.adapter
    if variant.pooling:
        measure = _scale_meter(extractor, variant.pooling)
        model = _with_pooling(model, variant.pooling, measure(pictures, ()))
        own_layers = (*own_layers, *(layer.name for layer in model.layers if isinstance(layer, SwappedPooling)))
        adapter = partial(_adapt_with_scales, extractor, measure)
    if variant.padding.mode != "trained":
        model = _with_padding(model, variant.padding, unpadded_px)
    model = _rewritten(model, FirstConvolution.like)
    if variant.precision != "float32":
        model = _in_precision(model, variant.precision)
    model.trainable = False
    return Extractor(ScaledGradient(model) if variant.precision == "float16" else model, extractor.mean_color,
                     own_layers, adapter)


def _adapt_with_scales(extractor: Extractor, measure: ScaleMeter, pictures: Sequence[np.ndarray]) -> Adapted:
    """What the unchanged network adapts, and then the scales of the pools that are swapped in it."""
    adapted = extractor.adapt(pictures)
    scales = measure(pictures, adapted.values).values()
    return adapted._replace(values=(*adapted.values, *(tf.constant(scale, tf.float32) for scale in scales)))


def _rewritten(model: keras.Model, replace: Callable[[Any], Any],
               call: Callable[..., Any] | None = None) -> keras.Model:
    """The model with `replace(layer)` in place of each layer, and the old weights in the new layers."""
    pairs: list[tuple[Any, Any]] = []

    def remember(layer: Any) -> Any:
        new = replace(layer) if isinstance(layer, keras.layers.Layer) else layer
        pairs.append((layer, new))
        return new

    rewritten = keras.models.clone_model(model, clone_function=remember, call_function=call)
    for old, new in pairs:
        if new is not old and old.weights:
            new.set_weights(old.get_weights())
    return rewritten


def _with_pooling(model: keras.Model, pooling: str, scales: Mapping[str, float]) -> keras.Model:
    """Every pool that halves the size replaced, each scaled so that the next layer sees values of the usual size."""
    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        return SwappedPooling.like(layer, pooling, scales[layer.name]) if isinstance(layer, _POOLS) else layer

    return _rewritten(model, replace)


def _scale_meter(extractor: Extractor, pooling: str) -> ScaleMeter:
    """(pictures, values of `extractor.own`) → {pool: its scale}, in the order of the network."""
    inputs: dict[str, Tensor] = {}
    pools: dict[str, keras.layers.Layer] = {}

    def record(operation: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if isinstance(operation, _POOLS):
            inputs[operation.name], pools[operation.name] = x, operation
        return operation(x, *args, **kwargs)

    copy = keras.models.clone_model(extractor.model, clone_function=lambda layer: layer, call_function=record)
    recorder = keras.Model(copy.inputs[0], inputs)

    def measure(pictures: Sequence[np.ndarray], values: Sequence[Tensor]) -> dict[str, float]:
        if not pictures:
            return dict.fromkeys(pools, 1.0)
        with extractor.holding(values):
            seen = [recorder(picture[np.newaxis], training=False) for picture in pictures]
        return {name: pooling_scale(pool, pooling, [features[name] for features in seen])
                for name, pool in pools.items()}

    return measure


def _with_padding(model: keras.Model, padding: Padding, unpadded_px: int) -> keras.Model:
    """Replaces the padding of the first convolution, or of all.

    A network whose first convolutions do not pad has its picture padded by what they lose.
    """
    pads: dict[int, Pad] = {}
    around = Pad.margin(padding.mode, unpadded_px) if unpadded_px else None
    is_first = True

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        nonlocal is_first
        if isinstance(layer, (Pad, keras.layers.ZeroPadding2D)) and (is_first or not padding.first_only):
            is_first = False
            return Pad.like(layer, padding.mode)
        if isinstance(layer, keras.layers.Conv2D) and max(layer.kernel_size) > 1:
            is_replaced, is_first = is_first or not padding.first_only, False
            if is_replaced and layer.padding == "same":
                config = layer.get_config() | {"padding": "valid"}
                convolution = type(layer).from_config(config)
                pads[id(convolution)] = Pad.like(layer, padding.mode)
                return convolution
        return layer

    def call(operation: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        nonlocal around
        pad = pads.get(id(operation))
        # Behind the preprocessing: to the network, zero is the mean color.
        if around and isinstance(operation, keras.layers.Conv2D):
            pad, around = around, None
        return operation(pad(x) if pad else x, *args, **kwargs)

    return _rewritten(model, replace, call)


def _in_precision(model: keras.Model, precision: str) -> keras.Model:
    """All layers compute in `precision` but the preprocessing. Features of float16 are cast to float32."""
    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config(layer.get_config() | {"dtype": precision})

    trunk = _rewritten(model, replace)
    if precision == "bfloat16":
        return trunk
    # The sums that terms make of features are beyond float16.
    outputs = {layer: keras.ops.cast(features, "float32") for layer, features in trunk.output.items()}
    return keras.Model(trunk.inputs[0], outputs)

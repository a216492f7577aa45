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
from nst_tf.backbones.loss_scaling import ScaledGradient
from nst_tf.backbones.pooling import BinomialPooling, SwappedPooling, pooling_scale
from nst_tf.backbones.table import Variant
from nst_tf.grammar import Padding
from nst_tf.tensors import Tensor

ScaleMeter = Callable[[Sequence[np.ndarray], Sequence[Tensor]], dict[str, float]]

# What `--pooling` replaces; the average pools inside Inception's blocks are no reduction of size.
_POOLS = (keras.layers.MaxPooling2D, BinomialPooling)


def vary(extractor: Extractor, variant: Variant, pictures: Sequence[np.ndarray], unpadded_px: int) -> Extractor:
    """The extractor of a variant; its features are float32, whatever the trunk computes in.

    Args:
        pictures: float32 [H, W, 3] in [0, 1], on which the scale of swapped pools is measured; without any it is 1
            until the extractor adapts.
        unpadded_px: width of the border that the network's convolutions without padding lose.
    """
    if variant == Variant():
        return extractor
    model, own_layers, adapter = extractor.model, extractor.own_layers, extractor.adapter
    if variant.pooling:
        measure = _scale_meter(extractor, variant.pooling)
        model = _with_pooling(model, variant.pooling, measure(pictures, ()))
        own_layers = (*own_layers, *(layer.name for layer in model.layers if isinstance(layer, SwappedPooling)))
        adapter = partial(_adapt_with_scales, extractor, measure)
    if variant.padding.mode != "trained":
        model = _with_padding(model, variant.padding, unpadded_px)
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
    """What pads with zeros (or reflects) pads as asked: the first convolution or all of them.

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
    """All layers compute in `precision`; the picture is preprocessed and the features are given in float32."""
    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config(layer.get_config() | {"dtype": precision})

    trunk = _rewritten(model, replace)
    outputs = {layer: keras.ops.cast(features, "float32") for layer, features in trunk.output.items()}
    return keras.Model(trunk.inputs[0], outputs)

"""The first convolution: taps by hand, its gradient against TensorFlow's, and where a network has it."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones import first_convolution
from nst_tf.backbones.first_convolution import FirstConvolution, block_taps, convolve, multiplies_sixteen
from nst_tf.backbones.surgery import vary
from nst_tf.backbones.table import Variant

from .conftest import build


def test_taps_by_hand() -> None:
    # y_i = W_0 x_{i−1} + W_1 x_i + W_2 x_{i+1}: pixel 0 of a block is read by y_{−1} … y_1, pixel 1 by y_0 … y_2.
    taps, first = block_taps(3, 1, 1, 2)
    assert first == -1
    np.testing.assert_array_equal(taps, [[2, 3], [1, 2], [0, 1], [3, 0]])
    # y_i = W_0 x_{2i} + W_1 x_{2i+1} + W_2 x_{2i+2}
    taps, first = block_taps(3, 2, 0, 2)
    assert first == -1
    np.testing.assert_array_equal(taps, [[2, 3], [0, 1]])


@pytest.mark.parametrize("kernel, stride, padding, size", [
    ((3, 3), 1, "SAME", (9, 12)), ((3, 3), 1, "VALID", (9, 11)), ((5, 5), 1, "VALID", (11, 10)),
    ((7, 7), 2, "VALID", (21, 18)), ((7, 7), 2, "VALID", (20, 19)), ((3, 3), 2, "VALID", (9, 8)),
    ((11, 11), 4, "VALID", (31, 29)), ((1, 1), 1, "VALID", (5, 4)), ((2, 2), 1, "SAME", (7, 6)),
    ((3, 3), 3, "VALID", (17, 12)), ((3, 5), 1, "SAME", (9, 8)), ((3, 5), 2, "VALID", (19, 18))])
def test_the_gradient_is_that_of_tensorflow(kernel: tuple[int, int], stride: int, padding: str,
                                            size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    x, W = (tf.constant(generator.normal(size=shape), tf.float32) for shape in ((2, *size, 3), (*kernel, 3, 5)))

    def gradient(convolve, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = convolve(x, W, stride, padding)
            total = tf.reduce_sum(tf.sin(y))
        return tape.gradient(total, x)

    expected = gradient(tf.nn.conv2d, x)
    np.testing.assert_allclose(gradient(convolve, x), expected, rtol=1e-4, atol=2e-5)
    unknown = tf.function(lambda x: gradient(convolve, x), autograph=False,
                          input_signature=[tf.TensorSpec([None, None, None, 3])])
    np.testing.assert_allclose(unknown(x), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("backbone, layer, padding", [
    ("vgg19", "block1_conv1", True), ("squeezenet", "conv1", False)])
def test_networks_begin_with_it_unless_they_pad_by_the_side_of_the_picture(
        backbone: str, layer: str, padding: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_convolution, "multiplies_sixteen", lambda: True)
    model = vary(build(backbone, (layer,)), Variant(), [], 0).model
    convolution, *others = [layer for layer in model.layers if hasattr(layer, "kernel_size")]
    assert isinstance(convolution, FirstConvolution) == padding
    assert not any(isinstance(other, FirstConvolution) for other in others)


@pytest.mark.parametrize("flags, limit, is_wide", [
    ("fpu avx2 avx512f", "", True), ("avx512f", "avx512_core_amx", True), ("avx512f", "DEFAULT", True),
    ("avx512f", "AVX2", False), ("avx512f", "avx2_vnni", False), ("avx512f", "SSE41", False), ("fpu avx2", "", False)])
def test_it_is_for_processors_that_multiply_sixteen_numbers_at_once(
        flags: str, limit: str, is_wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_convolution, "cpu_facts", lambda: {"flags": flags})
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert multiplies_sixteen() == is_wide
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU"])
    assert not multiplies_sixteen()

"""Networks in plain NumPy and float64, and the classes that SqueezeNet v1.1 sees in six photos by them.

    python -m tests.numpy_networks squeezenet_weights_tf_dim_ordering_tf_kernels.h5 > tests/data/squeezenet1_1_top5.json

The file is read as it is, by none of this project's readers. The photos are those of ../shared/images.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

PHOTOS = Path(__file__).resolve().parents[2] / "shared/images"
MEAN_BGR = (104.0, 117.0, 123.0)
# After which layers the two versions pool.
POOL_AFTER = {"squeezenet": ("conv1", "fire4", "fire8"), "squeezenet1_1": ("conv1", "fire3", "fire5")}

Kernels = Callable[[str], Sequence[np.ndarray]]  # the name of a layer in Caffe → kernel [h, w, in, out] and bias


def windows_of(x: np.ndarray, kernel_px: int, stride: int, fill: float | None) -> np.ndarray:
    """All windows [h, w, C, k, k].

    Args:
        fill: of the padding of TensorFlow (SAME): ⌈side / stride⌉ windows, the odd pixel after. None: no padding.
    """
    if fill is not None:
        totals = [max(0, (-(-side // stride) - 1) * stride + kernel_px - side) for side in x.shape[:2]]
        margins = [(total // 2, total - total // 2) for total in totals]
        x = np.pad(x, (*margins, (0, 0)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(x, (kernel_px, kernel_px), axis=(0, 1))[::stride, ::stride]


def convolve(x: np.ndarray, weights: Sequence[np.ndarray], stride: int = 1, is_padded: bool = True) -> np.ndarray:
    """ReLU of a grouped cross-correlation."""
    kernel, bias = (np.asarray(values, np.float64) for values in weights)
    groups = x.shape[-1] // kernel.shape[2]
    windows = windows_of(x, kernel.shape[0], stride, 0.0 if is_padded else None)
    parts = [np.einsum("hwcij,ijco->hwo", part, output, optimize=True)
             for part, output in zip(np.split(windows, groups, axis=2), np.split(kernel, groups, axis=-1))]
    return np.maximum(np.concatenate(parts, -1) + bias, 0)


def pool(x: np.ndarray, is_padded: bool = True) -> np.ndarray:
    """The maxima of 3×3 windows, stride 2."""
    return windows_of(x, 3, 2, -np.inf if is_padded else None).max(axis=(-1, -2))


def caffe_input(picture: np.ndarray, mean_bgr: Sequence[float] = MEAN_BGR) -> np.ndarray:
    """RGB in [0, 1] → BGR, 0–255, minus ImageNet's mean."""
    return picture[..., ::-1].astype(np.float64) * 255 - np.array(mean_bgr)


def squeezenet(kernels: Kernels, picture: np.ndarray, version: str, is_padded: bool = True) -> dict[str, np.ndarray]:
    """Every layer of a SqueezeNet, `conv10` included.

    Args:
        is_padded: this project's conv1 and pools are padded. Those that were trained are not.
    """
    x, before, layers = caffe_input(picture), "", {}
    for name in ("conv1", *(f"fire{index}" for index in range(2, 10)), "conv10"):
        if before in POOL_AFTER[version]:
            x = pool(x, is_padded)
        if name.startswith("conv"):
            x = convolve(x, kernels(name), 2 if name == "conv1" else 1, is_padded)
        else:
            squeezed = convolve(x, kernels(f"{name}/squeeze1x1"))
            x = np.concatenate([convolve(squeezed, kernels(f"{name}/{kind}")) for kind in ("expand1x1", "expand3x3")],
                               -1)
        layers[name], before = x, name
    return layers


def probabilities(conv10: np.ndarray) -> np.ndarray:
    """Softmax of the means over the positions of [h, w, 1000]."""
    means = conv10.mean((0, 1))
    exponentials = np.exp(means - means.max())
    return exponentials / exponentials.sum()


def photo(name: str) -> np.ndarray:
    """A photo as the network was trained on them: float32 [227, 227, 3] in [0, 1]."""
    with Image.open(PHOTOS / name) as picture:
        return np.asarray(picture.convert("RGB").resize((227, 227), Image.Resampling.BICUBIC), np.float32) / 255


def read_classic_file(path: str) -> dict[str, list[np.ndarray]]:
    """{layer: kernel, bias} of a classic Keras file, `LAYER/LAYER_W:0`, by h5py alone."""
    with h5py.File(path) as file:
        return {name: [file[name][f"{name}_{kind}:0"][()] for kind in "Wb"]
                for name in (text.decode() for text in file.attrs["layer_names"]) if len(file[name])}


def main(path: str) -> None:
    """Prints {photo: the five likeliest classes and their probabilities}."""
    golden, stored = {}, read_classic_file(path)
    for name in sorted(path.name for path in PHOTOS.glob("*.jpg")):
        found = probabilities(squeezenet(stored.__getitem__, photo(name), "squeezenet1_1", is_padded=False)["conv10"])
        golden[name] = [[int(label), round(float(found[label]), 6)] for label in np.argsort(-found)[:5]]
    print(json.dumps(golden, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])

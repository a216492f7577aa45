"""The networks of keras.applications inside ours: Keras' own network behind Keras' own preprocessing is the oracle."""

import errno
import hashlib
import importlib
import inspect
import re
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.applications import APPLICATIONS, build_application
from nst_tf.backbones.architectures import STEM
from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.table import BACKBONES
from nst_tf.backbones.weights.download import KERAS_FILES, KerasFile, cached_weights
from nst_tf.vocabulary import RunError, UserError

from .conftest import build, make_picture

MODULES = {"vgg16": "vgg16", "vgg19": "vgg19", "resnet50": "resnet", "inception_v3": "inception_v3"}


def _by_creation(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers with weights: by name, numbered ones by number, which Keras counts through a session."""
    def key(layer: keras.layers.Layer) -> tuple[str, int]:
        numbered = re.fullmatch(r"(conv2d|batch_normalization)(?:_(\d+))?", layer.name)
        return (numbered[1], int(numbered[2] or 0)) if numbered else (layer.name, 0)
    return sorted((layer for layer in model.layers if layer.weights), key=key)


def _first_nine(row: str) -> list[str]:
    return [layer.name for layer in BACKBONES[row].layers[:9]]


def _whole(row: str) -> Extractor:
    """The first nine layers and the last one: of each row one network for all tests, since large ones take seconds."""
    return build(row, [*_first_nine(row), BACKBONES[row].layers[-1].name], "random", 3)


# The two that branch take ten seconds each.
@pytest.mark.parametrize("row", [pytest.param(row, marks=[pytest.mark.slow] * (row in ("resnet50", "inception_v3")))
                                 for row in APPLICATIONS])
def test_equal_layers_are_equal_however_the_network_is_cut(row: str) -> None:
    """Keras numbers layers through a session: the second network of a session must equal the first, too."""
    picture = make_picture(75, 91, 0)[None]
    deep = _whole(row)(picture)
    for layer, features in build_application(row, _first_nine(row)[:6:2], "random", 3)(picture).items():
        np.testing.assert_array_equal(features, deep[layer])


@pytest.fixture
def restored(row: str) -> Iterator[Extractor]:
    """The network of a row, which has its weights again after the test."""
    extractor = _whole(row)
    before = extractor.model.get_weights()
    yield extractor
    extractor.model.set_weights(before)


@pytest.mark.parametrize("row", APPLICATIONS)
def test_the_whole_network_equals_keras_behind_its_own_preprocessing(row: str, restored: Extractor) -> None:
    deepest, extractor = BACKBONES[row].layers[-1].name, restored
    reference = getattr(keras.applications, APPLICATIONS[row].name)(include_top=False, weights=None)
    rng = np.random.default_rng(0)
    for ours, theirs in zip(_by_creation(extractor.model), _by_creation(reference), strict=True):
        # Batch normalization that does something: its variables are moved off 0 and 1.
        weights = [np.abs(values + rng.normal(0, 0.1, values.shape)) if values.ndim == 1 else values
                   for values in ours.get_weights()]
        ours.set_weights(weights)
        theirs.set_weights(weights)
    preprocess = importlib.import_module(f"keras.applications.{MODULES[row]}").preprocess_input
    pictures = np.stack([make_picture(75, 91, seed) for seed in (1, 2)])
    expected = reference(preprocess(255 * pictures), training=False)
    features = extractor(pictures)[deepest]
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected).max() > 0


def test_the_stem_of_inception_v3_has_the_names_of_its_authors() -> None:
    extractor = _whole("inception_v3")
    features = extractor(make_picture(75, 89, 0)[None])
    x = tf.constant(make_picture(75, 89, 0)[None] * 2 - 1)
    convolutions = [layer for layer in _by_creation(extractor.model) if isinstance(layer, keras.layers.Conv2D)]
    # He's random kernels and a batch normalization that only divides by √(1 + ε).
    for name, layer in zip(STEM, convolutions):
        stride, padding = 2 if name == "conv1a" else 1, "SAME" if name == "conv2b" else "VALID"
        x = tf.nn.relu(tf.nn.conv2d(x, layer.kernel, stride, padding) / np.sqrt(1 + 1e-3))
        np.testing.assert_allclose(features[name], x, rtol=1e-3, atol=1e-4 * float(tf.reduce_max(x)))
        if name == "conv2b":
            x = tf.nn.max_pool2d(x, 3, 2, "VALID")


class _Server:
    """In place of the network: what a download writes, and then raises."""

    def __init__(self, data: bytes = b"", error: BaseException | None = None) -> None:
        self.data, self.error, self.asked = data, error, list[str]()

    def __call__(self, url: str, path: str, *_: object) -> None:
        self.asked.append(url)
        Path(path).write_bytes(self.data)
        if self.error:
            raise self.error


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of Keras; the file `weights.h5` in it is this one."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "keras/models"


def _serve(monkeypatch: pytest.MonkeyPatch, server: _Server) -> None:
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", server)


def _fetch(data: bytes) -> str:
    return cached_weights("X's weights", KerasFile("https://x/weights.h5", hashlib.md5(data).hexdigest()), "do that")


def _offline() -> urllib.error.URLError:
    return urllib.error.URLError("[Errno -2] Name or service not known")


@pytest.mark.parametrize("row", APPLICATIONS)
def test_a_failed_download_is_one_line_that_helps(cache: Path, monkeypatch: pytest.MonkeyPatch, row: str) -> None:
    _serve(monkeypatch, _Server(error=_offline()))
    for layer, ending in ((BACKBONES[row].layers[0].name, "_notop.h5"), ("predictions", ".h5")):
        with pytest.raises(UserError) as raised:
            build_application(row, [layer], "imagenet", 0)
        message = str(raised.value)
        assert "\n" not in message and "Name or service not known" in message
        assert f"{row}_weights_tf_dim_ordering_tf_kernels{ending} into {cache}" in message
        assert "--backbone=kmeans" in message and not list(cache.iterdir())


@pytest.mark.parametrize("row", APPLICATIONS)
def test_the_weights_are_those_of_keras(row: str) -> None:
    module = importlib.import_module(f"keras.src.applications.{MODULES[row]}")
    source = inspect.getsource(module)
    if row == "resnet50":
        name = f"{module.BASE_WEIGHTS_PATH}{row}_weights_tf_dim_ordering_tf_kernels"
        urls, sums = [f"{name}_notop.h5", f"{name}.h5"], module.WEIGHTS_HASHES[row][::-1]
    else:
        urls = [module.WEIGHTS_PATH_NO_TOP, module.WEIGHTS_PATH]
        sums = re.findall(r'file_hash="(\w{32})"', source)[::-1]
        # Keras names the file with the classifier first.
        assert source.index(sums[1]) < source.index(f'"{urls[0].rpartition("/")[2]}",') < source.index(sums[0])
    assert [KERAS_FILES[row, has_classifier] for has_classifier in (False, True)] == list(map(KerasFile, urls, sums))


def test_weights_in_keras_cache_are_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = _Server(b"weights")
    _serve(monkeypatch, server)
    assert [_fetch(b"weights"), _fetch(b"weights")] == [str(cache / "weights.h5")] * 2
    assert (cache / "weights.h5").read_bytes() == b"weights" and server.asked == ["https://x/weights.h5"]
    assert [path.name for path in cache.iterdir()] == ["weights.h5"]


def test_a_file_of_the_user_in_keras_cache_is_never_touched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = _Server(error=_offline())
    _serve(monkeypatch, server)
    cache.mkdir(parents=True)
    (cache / "weights.h5").write_bytes(b"mine")
    with pytest.raises(UserError, match="weights.h5. is not the file that Keras downloads .*: move it away, or do"):
        _fetch(b"weights")
    assert (cache / "weights.h5").read_bytes() == b"mine" and not server.asked


@pytest.mark.parametrize("error, kind, text", [
    (OSError(errno.ENOSPC, "No space left on device"), RunError, "No space left on device.: free some space there"),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), UserError, "could not be downloaded .*reset"),
    (None, UserError, "could not be downloaded .Incomplete or corrupted file"),
    (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
])
def test_half_a_download_is_never_used(cache: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None,
                                       kind: type[BaseException], text: str) -> None:
    _serve(monkeypatch, _Server(b"weig", error))
    with pytest.raises(kind, match=text) as raised:
        _fetch(b"weights")
    assert "\n" not in str(raised.value) and not list(cache.iterdir())
    _serve(monkeypatch, _Server(b"weights"))
    assert Path(_fetch(b"weights")).read_bytes() == b"weights"


def test_a_cache_that_cannot_be_written_has_a_substitute(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.parent.write_bytes(b"a file, no folder")
    _serve(monkeypatch, _Server(b"weights"))
    assert _fetch(b"weights") == str(cache.parents[1] / ".keras/models/weights.h5")

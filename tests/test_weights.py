"""Weights from Keras' own files and from .npz into networks whose layers carry other numbers."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from nst_tf.backbones.extractor import randomize
from nst_tf.backbones.weights.fitting import LARGEST_FILE_BYTES, needs
from nst_tf.backbones.weights.readers import load_weights
from nst_tf.vocabulary import UserError

from .conftest import make_picture


def branching(filters: int = 5, classes: int = 0) -> keras.Model:
    """Named and numbered layers, with and without bias and scale, whose numbers do not follow the order of depth."""
    image = keras.Input((None, None, 3))
    stem = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(image)
    stem = keras.layers.BatchNormalization(name="stem_bn")(stem)
    long = keras.layers.Conv2D(filters, (1, 3), padding="same")(stem)
    long = keras.layers.BatchNormalization(scale=False)(long)
    long = keras.layers.Conv2D(filters, (3, 1), padding="same")(keras.layers.ReLU()(long))
    short = keras.layers.Conv2D(filters, (1, 3), padding="same", use_bias=False)(stem)
    x = keras.layers.Concatenate()([long, keras.layers.BatchNormalization(scale=False)(short)])
    x = keras.layers.Conv2D(6, 2, groups=2, padding="same", activation="relu")(x)
    if classes:
        x = keras.layers.Dense(classes, name="predictions")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, x)


def scramble(model: keras.Model) -> keras.Model:
    """Weights that tell apart every tensor; variances stay positive."""
    generator = np.random.default_rng(11)
    for layer in model.layers:
        layer.set_weights([generator.uniform(0.5, 1.5, weight.shape) if weight.ndim == 1 else
                           generator.normal(0, np.prod(weight.shape[:-1]) ** -0.5, weight.shape)
                           for weight in layer.get_weights()])
    return model


def save_legacy(model: keras.Model, path: str) -> None:
    """As `keras.applications` caches them, by Keras' own writer."""
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def save_npz(model: keras.Model, path: str) -> None:
    arrays: dict[str, Any] = {f"{layer.name}/{variable.name}": variable.numpy().astype(np.float64)
                              for layer in model.layers for variable in layer.weights}
    np.savez(path, **arrays)


WRITERS: dict[str, Callable[[keras.Model, str], None]] = {
    "cached.h5": save_legacy, "whole.h5": lambda model, path: model.save(path),
    "new.weights.h5": lambda model, path: model.save_weights(path),
    "archive.keras": lambda model, path: model.save(path), "arrays.npz": save_npz}


def outputs_agree(first: keras.Model, second: keras.Model) -> None:
    picture = make_picture(75, 91, 2)[None]
    expected = np.asarray(first(picture, training=False))
    np.testing.assert_allclose(second(picture, training=False), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("classes", [0, 3])
def test_numbered_layers_find_their_weights(tmp_path: Path, ending: str, classes: int) -> None:
    keras.layers.Conv2D(1, 1), keras.layers.BatchNormalization()
    saved = scramble(branching())
    whole = keras.Model(saved.input, keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(saved.output))
                        ) if classes else saved
    WRITERS[ending](whole, str(tmp_path / ending))
    model = branching()
    assert model.layers[3].name != saved.layers[3].name
    load_weights(model, str(tmp_path / ending))
    outputs_agree(saved, model)


def fires() -> keras.Model:
    """As SqueezeNet names its layers: a fire is a name in a name."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1")(image)
    for index in (2, 3):
        x = keras.layers.Conv2D(2, 1, name=f"fire{index}-squeeze1x1")(x)
        expands = [keras.layers.Conv2D(3, size, padding="same", name=f"fire{index}-expand{size}x{size}")(x)
                   for size in (1, 3)]
        x = keras.layers.Concatenate()(expands)
    return keras.Model(image, x)


def save_keras1(model: keras.Model, path: Path, rename: Callable[[str], str], suffixes: tuple[str, ...],
                backend: str = "") -> None:
    """As Keras 1 wrote them, all names in attributes of bytes; a layer without weights has an empty list of floats."""
    with h5py.File(path, "w") as file:
        names = [rename(layer.name) for layer in model.layers]
        file.attrs["layer_names"] = np.array([name.encode() for name in names])
        if backend:
            file.attrs["backend"] = backend.encode()
        for name, layer in zip(names, model.layers, strict=True):
            group = file.create_group(name)
            tensors = {f"{name}{suffix}": weight.numpy() for weight, suffix in zip(layer.weights, suffixes)}
            group.attrs["weight_names"] = np.array([tensor.encode() for tensor in tensors])
            for tensor, values in tensors.items():
                group[tensor] = values


@pytest.mark.parametrize("mark, suffixes", [
    ("/", ("_W:0", "_b:0")), ("/", ("_W_1:0", "_b_1:0")), ("_", ("_W", "_b")), ("-", ("/kernel:0", "/bias:0"))])
def test_classic_files_with_slashes_and_old_suffixes_load(tmp_path: Path, mark: str,
                                                          suffixes: tuple[str, str]) -> None:
    saved, model = scramble(fires()), fires()
    save_keras1(saved, tmp_path / "classic.h5", lambda name: name.replace("-", mark), suffixes)
    load_weights(model, str(tmp_path / "classic.h5"))
    outputs_agree(saved, model)
    save_keras1(saved, tmp_path / "theano.h5", lambda name: name.replace("-", mark), suffixes, backend="theano")
    assert "saved by Keras on Theano, whose kernels are mirrored" in refusal(fires(), tmp_path / "theano.h5")


def test_names_of_caffe_and_of_keras_1_load(tmp_path: Path) -> None:
    saved, model = scramble(fires()), fires()
    names = {"fire2-squeeze1x1": "squeeze_2", "fire3-expand3x3": "expand_3"}
    save_keras1(saved, tmp_path / "classic.h5", lambda name: names.get(name, name), ("_W:0", "_b:0"))
    assert "has no kernel of layer fire2-squeeze1x1" in refusal(model, tmp_path / "classic.h5")
    load_weights(model, str(tmp_path / "classic.h5"), caffe_names=names)
    outputs_agree(saved, model)
    image = keras.Input((None, None, 3))
    numbered = [keras.Model(image, keras.layers.Conv2D(3, 3)(keras.layers.Conv2D(3, 3)(image))) for _ in range(2)]
    old = {layer.name: f"convolution2d_{7 + index}" for index, layer in enumerate(numbered[0].layers)}
    save_keras1(scramble(numbered[0]), tmp_path / "numbered.h5", old.__getitem__, ("_W:0", "_b:0"))
    load_weights(numbered[1], str(tmp_path / "numbered.h5"))
    outputs_agree(*numbered)


def deep(convolutions: int) -> list[keras.layers.Conv2D]:
    return [keras.layers.Conv2D(3, 3, padding="same", name=f"block{block}_conv{index}")
            for block in (1, 2) for index in range(1, convolutions + 1)]


def chain(convolutions: int) -> keras.Model:
    x = image = keras.Input((None, None, 3))
    for layer in deep(convolutions):
        x = layer(x)
    return keras.Model(image, x)


class Edges(keras.Model):
    """As HED is made: its blocks are networks, beside which its heads stand."""

    def __init__(self, convolutions: int) -> None:
        super().__init__()
        layers = deep(convolutions)
        self.block1 = keras.Sequential(layers[:convolutions])
        self.block2 = keras.Sequential([keras.layers.MaxPooling2D(), *layers[convolutions:]])
        self.dsn1 = keras.layers.Conv2D(1, 1)

    def call(self, x):
        return self.dsn1(self.block2(self.block1(x)))


@pytest.mark.parametrize("has_names", [True, False])
def test_a_network_of_networks_loads_without_its_heads(tmp_path: Path, has_names: bool) -> None:
    path, edges, model = tmp_path / "hed.weights.h5", Edges(11), chain(11)
    edges(np.zeros((1, 8, 8, 3)))
    scramble(edges.block1), scramble(edges.block2)
    edges.save_weights(path)
    if not has_names:
        with h5py.File(path, "a") as file:
            file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    load_weights(model, str(path))
    written = [*edges.block1.get_weights(), *edges.block2.get_weights()]
    for read, value in zip(model.get_weights(), written, strict=True):
        np.testing.assert_array_equal(read, value)
    foreign = "block1/layers/conv2d_10" if has_names else "block2/layers/conv2d_9"
    assert f"has a layer '{foreign}', which this backbone does not have" in refusal(chain(10), path)
    assert "has no kernel of layer block" in refusal(chain(12), path)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("ending", ["cached.h5", "whole.h5", "new.weights.h5", "archive.keras"])
def test_a_network_inside_of_a_classifier_loads(tmp_path: Path, ending: str) -> None:
    trunk, model = scramble(chain(2)), chain(2)
    image = keras.Input((None, None, 3))
    whole = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(trunk(image)))
    WRITERS[ending](keras.Model(image, whole), str(tmp_path / ending))
    load_weights(model, str(tmp_path / ending))
    outputs_agree(trunk, model)


def test_a_file_that_goes_round_in_circles_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "circle.weights.h5", "w") as file:
        file["layers/conv2d"] = file["layers"] if "layers" in file else file.create_group("layers")
    assert "more than 5000 groups" in refusal(named(1), tmp_path / "circle.weights.h5")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("build", [keras.applications.ResNet50, keras.applications.InceptionV3],
                         ids=["resnet50", "inception_v3"])
def test_whole_networks_of_keras_load_from_every_kind_of_file(tmp_path: Path,
                                                              build: Callable[..., keras.Model]) -> None:
    saved = scramble(build(include_top=False, weights=None))
    picture = make_picture(75, 91, 2)[None]
    expected = np.asarray(saved(picture[..., ::-1] * 2.0, training=False))
    assert np.isfinite(expected).all() and expected.std() > 0
    image = keras.Input((None, None, 3))
    # As in this project's backbones: arithmetic in front of the network.
    model = build(include_top=False, weights=None, input_tensor=image[..., ::-1] * 2.0)
    network = keras.Model(model.inputs[0], model.output)
    own = model.get_weights()
    for ending, write in WRITERS.items():
        write(saved, str(tmp_path / ending))
        model.set_weights(own)
        load_weights(model, str(tmp_path / ending))
        np.testing.assert_allclose(network(picture, training=False), expected, rtol=1e-4,
                                   atol=1e-5 * np.abs(expected).max(), err_msg=ending)


def refusal(model: keras.Model, path: Path) -> str:
    before = model.get_weights()
    with pytest.raises(UserError) as raised:
        load_weights(model, str(path))
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("ending", ["cached.h5", "new.weights.h5", "arrays.npz"])
def test_the_first_tensor_that_does_not_fit_is_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / ending
    WRITERS[ending](branching(filters=4), str(path))
    message = refusal(branching(), path)
    assert str(path) in message
    assert re.search(r"the kernel of layer conv2d_\d+ \('(layers/)?conv2d\S*' in the file\) is float(32|64) "
                     r"\[1, 3, 4, 4\], this backbone needs float \[1, 3, 4, 5\]", message)


def named(layers: int, scale: bool = True) -> keras.Model:
    x = image = keras.Input((None, None, 3))
    for index in range(layers):
        x = keras.layers.Conv2D(3, 3, name=f"conv{index}")(x)
    return keras.Model(image, keras.layers.BatchNormalization(scale=scale, name="bn")(x))


@pytest.mark.parametrize("ending", ["cached.h5", "new.weights.h5", "arrays.npz"])
def test_missing_surplus_and_foreign_tensors_are_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / ending
    WRITERS[ending](named(2), str(path))
    assert "has no kernel of layer conv2" in refusal(named(3), path)
    foreign = "layers/conv2d_1" if ending == "new.weights.h5" else "conv1"
    assert f"has a layer '{foreign}', which this backbone does not have" in refusal(named(1), path)
    surplus = "gamma" if ending == "arrays.npz" else "tensor 4"
    assert f"has a {surplus} of layer bn" in refusal(named(2, scale=False), path)
    WRITERS[ending](named(2, scale=False), str(path))
    missing = "gamma" if ending == "arrays.npz" else "moving_variance"
    assert f"has no {missing} of layer bn" in refusal(named(2), path)


@pytest.mark.parametrize("ending", ["cached.h5", "arrays.npz"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, ending: str) -> None:
    saved = named(2)
    saved.get_layer("conv1").set_weights([np.full((3, 3, 3, 3), np.nan), np.zeros(3)])
    WRITERS[ending](saved, str(tmp_path / ending))
    assert "the kernel of layer conv1 holds values that are not finite" in refusal(named(2), tmp_path / ending)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_npz_takes_every_float(tmp_path: Path, dtype: type) -> None:
    saved = scramble(named(2))
    arrays: dict[str, Any] = {f"{layer.name}/{variable.name}": np.asfortranarray(variable.numpy().astype(dtype))
                              for layer in saved.layers for variable in layer.weights}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    model = named(2)
    load_weights(model, str(tmp_path / "a.npz"))
    for read, written in zip(model.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(read, written.astype(dtype).astype(np.float32))


def npy(shape: str, data: bytes = b"", version: bytes = b"\x01\x00", descr: str = "'<f4'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize("entry, message", [
    (npy("(3, 3, 3, 1000000000000)", bytes(64)), "does not hold the shape (3, 3, 3, 1000000000000) that it claims"),
    (npy("(3, 3, 3, -3)"), "does not hold the shape"),
    (npy("(2,)", bytes(16), descr="'|O'"), "holds Python objects"),
    (npy("(2,)", bytes(8), version=b"\x02\x00"), "has an .npy header of another version than 1.0"),
    (b"cos\nsystem\n(S'true'\ntR.", "is not a readable .npz archive ("),
])
def test_hostile_npz_files_are_one_line(tmp_path: Path, entry: bytes, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("conv0/kernel.npy", entry)
    assert message in refusal(named(1), tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_npz_with_one_name_twice_and_a_bomb_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for _ in range(2):
            archive.writestr("conv0/kernel.npy", npy("(2,)", bytes(8)))
    assert "two arrays have one name" in refusal(named(1), tmp_path / "a.npz")
    arrays: dict[str, Any] = {"conv0/kernel": np.zeros((3, 3, 3, 400_000), np.float16)}
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    assert "is float16 [3, 3, 3, 400000], this backbone needs float [3, 3, 3, 3]" in refusal(
        named(1), tmp_path / "b.npz")


def legacy_kernel(file: h5py.File) -> h5py.Group:
    """The group that holds the first kernel of `named` in an old file, emptied of it."""
    group = file["conv0/conv0"]
    del group["kernel"]
    return group


def soft_link(file: h5py.File, folder: Path) -> None:
    legacy_kernel(file)["kernel"] = h5py.SoftLink("/conv1/conv1/kernel")


def external_link(file: h5py.File, folder: Path) -> None:
    legacy_kernel(file)["kernel"] = h5py.ExternalLink("other.h5", "/kernel")


def external_storage(file: h5py.File, folder: Path) -> None:
    legacy_kernel(file).create_dataset("kernel", (3, 3, 3, 3), "f4", external=[(str(folder / "secret"), 0, 324)])


def virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 3), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "kernel", (3, 3, 3, 3))
    legacy_kernel(file).create_virtual_dataset("kernel", layout)


def huge_chunks(file: h5py.File, folder: Path) -> None:
    legacy_kernel(file).create_dataset("kernel", (3, 3, 3, 3), "f4", chunks=(3, 3, 3, 10_000_000), compression="gzip",
                                       maxshape=(3, 3, 3, None))


def huge_shape(file: h5py.File, folder: Path) -> None:
    legacy_kernel(file).create_dataset("kernel", (3, 3, 3, 10**12), "f4", chunks=(3, 3, 3, 3))


def text(file: h5py.File, folder: Path) -> None:
    legacy_kernel(file)["kernel"] = "no numbers"


@pytest.mark.parametrize("damage, message", [
    (soft_link, "is missing or a link"), (external_link, "is missing or a link"),
    (external_storage, "is stored outside the file"), (virtual, "is stored outside the file"),
    (huge_chunks, "is stored in chunks larger than itself"),
    (huge_shape, "is float32 [3, 3, 3, 1000000000000], this backbone needs float [3, 3, 3, 3]"),
    (text, "the kernel of layer conv0 is object [], this backbone needs float"),
])
def test_hostile_h5_files_are_one_line(tmp_path: Path, damage: Callable[[h5py.File, Path], None],
                                       message: str) -> None:
    path = tmp_path / "cached.h5"
    save_legacy(named(2), str(path))
    with h5py.File(path, "a") as file:
        damage(file, tmp_path)
    assert message in refusal(named(2), path)


def test_cut_files_are_one_line(tmp_path: Path) -> None:
    for ending in ("cached.h5", "new.weights.h5", "archive.keras", "arrays.npz"):
        path = tmp_path / ending
        WRITERS[ending](named(2), str(path))
        whole = path.read_bytes()
        for length in (7, 1000, len(whole) // 2):
            path.write_bytes(whole[:length])
            assert "is not a readable" in refusal(named(2), path)
        path.write_bytes(b"")
        assert "is empty (0 bytes)" in refusal(named(2), path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    assert "is not a readable Keras file (it lists no layers)" in refusal(named(2), tmp_path / "other.h5")


def test_a_damaged_heap_that_hdf5_would_walk_for_ever_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cached.h5"
    save_legacy(named(2), str(path))
    data = bytearray(path.read_bytes())
    first = data.index(b"GCOL") + 16
    data[first:first + 16] = bytes(16)  # free space of no size
    path.write_bytes(data)
    assert f"byte {first} stands in a damaged heap" in refusal(named(2), path)


@pytest.mark.parametrize("ending", ["cached.h5", "new.weights.h5", "archive.keras", "arrays.npz"])
def test_damaged_files_give_one_line_or_finite_weights(tmp_path: Path, ending: str) -> None:
    generator = np.random.default_rng(1)
    model, path = named(2), tmp_path / ending
    WRITERS[ending](model, str(path))
    whole = path.read_bytes()
    refused, count = 0, 200 if ending == "arrays.npz" else 40  # HDF5 takes long; most bits of an .npz are checked
    for _ in range(count):
        data = bytearray(whole)
        for position in generator.integers(0, len(data), 2):
            data[position] ^= 1 << generator.integers(0, 8)
        path.write_bytes(data)
        try:
            load_weights(model, str(path))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert 0 < refused < count


def test_a_keras_archive_needs_its_weights_uncompressed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(1000))
    assert "its weights are compressed, which Keras never does" in refusal(named(1), tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "model.weights.h5" in refusal(named(1), tmp_path / "b.keras")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "huge.h5", "wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)  # takes no room on the disk
    assert f"at most {LARGEST_FILE_BYTES} are allowed" in refusal(named(1), tmp_path / "huge.h5")


def test_long_lists_of_layers_are_split_by_keras_and_read_whole(tmp_path: Path) -> None:
    x = image = keras.Input((None, None, 3))
    for index in range(40):
        x = keras.layers.Conv2D(3, 1, name=f"{'x' * 2000}{index}")(x)
    saved = scramble(keras.Model(image, x))
    save_legacy(saved, str(tmp_path / "long.h5"))
    with h5py.File(tmp_path / "long.h5") as file:
        assert "layer_names1" in file.attrs
    model = keras.models.clone_model(saved)
    load_weights(model, str(tmp_path / "long.h5"))
    for read, written in zip(model.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(read, written)


def test_endings_that_a_backbone_takes(tmp_path: Path) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(b"x")
    assert refusal(named(1), path).endswith(
        "is no weights file of this backbone: give one that ends in .h5, .keras, .npz")
    with pytest.raises(UserError, match=re.escape("ends in .h5, .keras, .npz, .caffemodel, .net")):
        load_weights(named(1), str(tmp_path / "a.pth"), {})
    with pytest.raises(UserError, match="--weights .*does not exist"):
        load_weights(named(1), str(tmp_path / "none.h5"))


def test_a_name_with_a_line_break_stays_one_line(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {f"{layer.name}/{variable.name}": variable.numpy()
                              for layer in named(1).layers for variable in layer.weights}
    arrays["evil\nlayer/kernel"] = np.zeros((1, 1, 1, 1), np.float32)
    np.savez(tmp_path / "a\nb.npz", **arrays)
    assert "has a layer 'evil\\nlayer'" in refusal(named(1), tmp_path / "a\nb.npz")


def test_random_weights_of_a_layer_depend_on_its_place_alone() -> None:
    first = branching()
    keras.layers.Conv2D(1, 1)
    second = branching(classes=4)
    assert first.layers[3].name != second.layers[3].name
    for model in (first, second):
        randomize(model, seed=5)
    for left, right in zip(needs(first), needs(second)):
        for one, other in zip(first.get_layer(left.name).get_weights(), second.get_layer(right.name).get_weights(),
                              strict=True):
            np.testing.assert_array_equal(one, other)
    stem, *kernels = [weight for weight in first.get_weights() if weight.ndim == 4]
    assert abs(stem.std() / np.sqrt(2 / 27) - 1) < 0.2
    alike, unlike = [kernel for kernel in kernels if kernel.shape == (1, 3, 4, 5)]
    assert not np.array_equal(alike, unlike)
    randomize(second, seed=6)
    assert not np.array_equal(second.get_layer("stem").get_weights()[0], stem)
    gamma, beta, mean, variance = first.get_layer("stem_bn").get_weights()
    assert (gamma == 1).all() and (beta == 0).all() and (mean == 0).all() and (variance == 1).all()

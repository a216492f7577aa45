"""Which images units are shown: every file once, known by its place below the folder that was given. No TensorFlow."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.io.files import quoted
from nst_tf.recipes.filters_recipe import PICTURE_SUFFIXES
from nst_tf.vocabulary import UserError


class ImageFile(NamedTuple):
    """An image, and the name by which it is known: its path from the folder that was given."""

    path: str
    name: str


def find_images(given: Sequence[str], output: str) -> tuple[tuple[ImageFile, ...], int]:
    """The images of some folders and files, and how many of them were found again and left out.

    A file that is reached by several ways (two folders, a symbolic link) counts once, where it is found first: else
    it would take two of the nine places of a unit.

    Args:
        output: the folder to write, which may not lie among the images.
    Raises:
        UserError: one of those given has no image, or lies in the folder to write, or around it.
    """
    _check_outside(given, output)
    found = [image for path in given for image in image_files(path)]
    by_place: dict[str, ImageFile] = {}
    for image in found:
        by_place.setdefault(os.path.realpath(image.path), image)
    return tuple(by_place.values()), len(found) - len(by_place)


def image_files(given: str) -> Iterator[ImageFile]:
    """The file itself, or every image below a folder, in the order of their names.

    Raises:
        UserError: there is none.
    """
    if not os.path.isdir(given):
        if not os.path.isfile(given):
            raise UserError(f"--images {quoted(given)} does not exist: give folders of images, or files")
        yield ImageFile(given, os.path.basename(given))
        return
    found, top = False, os.path.basename(os.path.realpath(given))
    for folder, below, files in os.walk(given):
        below.sort()
        for name in sorted(files):
            if name.lower().endswith(PICTURE_SUFFIXES):
                found = True
                path = os.path.join(folder, name)
                yield ImageFile(path, os.path.join(top, os.path.relpath(path, given)))
    if not found:
        raise UserError(f"--images {quoted(given)} holds no image ({' '.join(PICTURE_SUFFIXES)}): give another folder")


def fingerprint(images: Sequence[ImageFile]) -> dict[str, Any]:
    """Number and checksum of the images' names and sizes in bytes: to read them all would take as long as the run."""
    digest = hashlib.sha256()
    for image in images:
        # A link that leads nowhere is left out with the damaged images.
        size = os.path.getsize(image.path) if os.path.exists(image.path) else -1
        digest.update(f"{image.name}\0{size}\n".encode(errors="surrogateescape"))
    return {"count": len(images), "sha256": digest.hexdigest()}


def _check_outside(given: Sequence[str], output: str) -> None:
    """What is written must not be found among the images by the next run, nor may they be overwritten."""
    folder = Path(os.path.realpath(output))
    for path in given:
        images = Path(os.path.realpath(path))
        if images == folder or images in folder.parents or folder in images.parents:
            raise UserError(f"--output {quoted(output)} and --images {quoted(path)} lie in one another: give a "
                            "folder elsewhere")

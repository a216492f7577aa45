"""HEIC, the photos of iPhones, by the package pi-heif of the extra `heic`; Pillow has no reader of its own."""

from PIL import Image

from nst_tf.io.pixels import PathLike
from nst_tf.vocabulary import UserError

HEAD_BYTES = 64
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
# Brands of the container, which AVIF has as well.
_CONTAINERS = (b"mif1", b"msf1")


def is_heic(head: bytes) -> bool:
    """Whether a file that begins with `head` (`HEAD_BYTES` of it) is HEIC: its first box, `ftyp`, names brands."""
    end = min(int.from_bytes(head[:4]), len(head))
    others = [head[start:start + 4] for start in range(16, end, 4)]
    is_container = head[8:12] in _CONTAINERS and not {b"avif", b"avis"} & set(others)
    return head[4:8] == b"ftyp" and (head[8:12] in _HEIC or is_container)


def opened(path: PathLike, what: str) -> Image.Image:
    """The file with its header read, as `Image.open` gives it. Its size and its pixels are turned already.

    Pillow is not told of the reader: which files other code of the process can open stays as it was.

    Raises:
        UserError: the extra is not installed; it starts with `what`.
        DecompressionBombError: more pixels than Pillow may decode.
    """
    try:
        from pi_heif import HeifImageFile
    except ImportError:
        raise UserError(f"{what} is a HEIC picture: pip install -e '.[heic]' brings what reads it, or convert it to "
                        "JPEG") from None
    image: Image.Image = HeifImageFile(path)
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
        image.close()
        raise Image.DecompressionBombError
    return image

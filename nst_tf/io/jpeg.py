"""JPEG files as viewers take them: a remark that is cut off does not cost the picture."""

import io

from nst_tf.io.pixels import PathLike

_START, _SCAN, _REMARK = b"\xff\xd8", 0xDA, 0xFE
_APPLICATIONS = range(0xE0, 0xF0)
# What of an application counts: orientation, profile, and what the channels mean. Each has a least length.
_KEPT = {0xE1: (b"Exif\0", 6), 0xE2: (b"ICC_PROFILE\0", 14), 0xEE: (b"Adobe", 12)}


def without_remarks(path: PathLike) -> io.BytesIO | None:
    """A JPEG with nothing beside the picture but orientation, profile and color space; None for other files.

    Pillow refuses a JPEG whole for segments of Adobe's or of a profile that are too short.
    """
    with open(path, "rb") as file:
        if file.read(2) != _START:
            return None
        kept = io.BytesIO(_START)
        kept.seek(0, io.SEEK_END)
        while len(head := file.read(4)) == 4 and head[0] == 0xFF:
            kind, data = head[1], file.read(max(0, int.from_bytes(head[2:]) - 2))
            if _is_kept(kind, data):
                kept.write(head + data)
            if kind == _SCAN:
                kept.write(file.read())
                break
    kept.seek(0)
    return kept


def _is_kept(kind: int, data: bytes) -> bool:
    if kind == _REMARK or kind in _APPLICATIONS:
        start, least = _KEPT.get(kind, (b"", 2 ** 16))
        return data.startswith(start) and len(data) >= least
    return True

"""Pictures side by side, or a part of one, as docs/images has them.

    python docs/side_by_side.py out/a.png out/b.png --output=docs/images/ab.jpg
    python docs/side_by_side.py sheet.png --width_px=900 --output=docs/images/sheet.jpg
    python docs/side_by_side.py huge.png --crop=1500,900,600,450 --output=docs/images/crop.jpg
"""

import argparse
from pathlib import Path

from PIL import Image

GAP_PX = 8


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """One picture of several of one height, with white between them."""
    width = sum(picture.width for picture in pictures) + GAP_PX * (len(pictures) - 1)
    joined = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        joined.paste(picture, (left, 0))
        left += picture.width + GAP_PX
    return joined


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--output", required=True)
    parser.add_argument("--crop", help="LEFT,TOP,WIDTH,HEIGHT of a single picture")
    parser.add_argument("--width_px", type=int, help="shrinks to this width")
    options = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None  # these are our own
    picture = side_by_side([Image.open(path).convert("RGB") for path in options.pictures])
    if options.crop:
        left, top, width, height = map(int, options.crop.split(","))
        picture = picture.crop((left, top, left + width, top + height))
    if options.width_px and options.width_px < picture.width:
        height = round(picture.height * options.width_px / picture.width)
        picture = picture.resize((options.width_px, height), Image.Resampling.LANCZOS)
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.output, quality=88)


if __name__ == "__main__":
    main()

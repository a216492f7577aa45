"""Runs every preset on the sample pictures and writes docs/gallery.md: flags around `nst_tf.recipes.gallery`."""

import sys

try:
    from nst_tf import flags
    from nst_tf.recipes.gallery import GALLERY, GalleryConfig
    from nst_tf.runs.run import run
except ModuleNotFoundError as error:
    print(f"build_gallery.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

ABOUT = """Runs every preset on the sample pictures; docs/gallery.md has command, seconds and picture.

  python scripts/build_gallery.py --backbone=squeezenet --weights=squeezenet.net --size=384
  python scripts/build_gallery.py --presets=bold,sketch     only these sections of the page; the others stay"""

if __name__ == "__main__":
    flags.main(lambda config, _: run(GALLERY, config), [GalleryConfig], ABOUT)

"""Runs every preset on the sample pictures and writes docs/gallery.md: `nst-gallery` in a checkout."""

import sys

try:
    from nst_tf.commands import gallery
except ModuleNotFoundError as error:
    print(f"build_gallery.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    gallery()

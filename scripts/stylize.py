"""Stylizes a photo after one or more paintings: `nst-stylize` in a checkout."""

import sys

try:
    from nst_tf.commands import stylize
except ModuleNotFoundError as error:
    print(f"stylize.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    stylize()

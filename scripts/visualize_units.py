"""Shows what the units of a network see: `nst-units` in a checkout."""

import sys

try:
    from nst_tf.commands import units
except ModuleNotFoundError as error:
    print(f"visualize_units.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    units()

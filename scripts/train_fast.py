"""Trains a network that paints in one forward pass: `nst-fast` in a checkout."""

import sys

try:
    from nst_tf.commands import fast
except ModuleNotFoundError as error:
    print(f"train_fast.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    fast()

"""Fetches trained weights ahead of time, lists and verifies them: `nst-weights` in a checkout."""

import sys

try:
    from nst_tf.commands import weights
except ModuleNotFoundError as error:
    print(f"get_weights.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    weights()

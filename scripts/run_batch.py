"""Stylizes many photos: `nst-batch` in a checkout."""

import sys

try:
    from nst_tf.commands import batch
except ModuleNotFoundError as error:
    print(f"run_batch.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    batch()

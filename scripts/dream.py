"""Deep dream on a photo: `nst-dream` in a checkout."""

import sys

try:
    from nst_tf.commands import dream
except ModuleNotFoundError as error:
    print(f"dream.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    dream()

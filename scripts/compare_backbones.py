"""Stylizes the same pictures by several networks and compares them: `nst-compare` in a checkout."""

import sys

try:
    from nst_tf.commands import compare
except ModuleNotFoundError as error:
    print(f"compare_backbones.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    compare()

"""Exports a backbone as a SavedModel, and on demand for LiteRT: `nst-export` in a checkout."""

import sys

try:
    from nst_tf.commands import export
except ModuleNotFoundError as error:
    print(f"export_model.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    export()

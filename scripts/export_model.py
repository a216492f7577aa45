"""Exports a backbone as a SavedModel, and on demand for LiteRT: flags around `nst_tf.recipes.export`."""

import sys

try:
    from nst_tf import flags
    from nst_tf.recipes.export.recipe import EXPORT, ExportConfig
    from nst_tf.runs.run import run
except ModuleNotFoundError as error:
    print(f"export_model.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

ABOUT = """Exports the layers of a backbone as a SavedModel, preprocessing inside, any size and batch of pictures.

  python scripts/export_model.py --backbone=squeezenet --weights=squeezenet.net --output=squeezenet/1
  python scripts/stylize.py --backbone=saved_model:squeezenet/1 ...

Signatures: features (also serving_default), gram and features_from_bytes (JPEG and PNG files)."""

if __name__ == "__main__":
    flags.main(lambda config, _: run(EXPORT, config), [ExportConfig], ABOUT)

"""Shows what the units of a network see: flags around `nst_tf.recipes.units`."""

import sys

try:
    from nst_tf import flags
    from nst_tf.recipes.units.plan import UnitsConfig
    from nst_tf.recipes.units.recipe import UNITS
    from nst_tf.runs.run import run
except ModuleNotFoundError as error:
    print(f"visualize_units.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

ABOUT = """Shows what the units (channels) of a network see: of each, the nine image patches that excite it most.

  python scripts/visualize_units.py --backbone=squeezenet --weights=squeezenet.net --images=photos --output=units
  python scripts/visualize_units.py --layers=conv1:all,fire8:3+17,fire9:strong:20 ...

Writes a sheet for each layer, index.html, units.json and TensorBoard images. The same command again goes on where it
was stopped."""

if __name__ == "__main__":
    flags.main(lambda config, _: run(UNITS, config), [UnitsConfig], ABOUT)

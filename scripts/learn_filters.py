"""Learns the filters of a `kmeans` network from pictures: flags around `nst_tf.recipes.filters`."""

import sys

try:
    from nst_tf import flags
    from nst_tf.recipes.filters.recipe import FILTERS, FiltersConfig
    from nst_tf.runs.run import run
except ModuleNotFoundError as error:
    print(f"learn_filters.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

ABOUT = """Learns the filters of a small network from pictures, without back-propagation (Coates and Ng 2012).

  python scripts/learn_filters.py --pictures=my_paintings/ --output=mine.npz
  python scripts/stylize.py --backbone=kmeans --weights=mine.npz ...

The filters that ship with the package are made again, bit for bit on one CPU type, by

  python scripts/learn_filters.py --output=nst_tf/backbones/kmeans_bundled.npz"""

if __name__ == "__main__":
    flags.main(lambda config, _: run(FILTERS, config), [FiltersConfig], ABOUT)

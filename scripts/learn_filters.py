"""Learns the filters of a `kmeans` network from pictures: `nst-filters` in a checkout."""

import sys

try:
    from nst_tf.commands import filters
except ModuleNotFoundError as error:
    print(f"learn_filters.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    filters()

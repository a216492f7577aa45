"""Stylizes a photo after one or more paintings: flags around `nst_tf.recipes.stylize`."""

import sys

try:
    from nst_tf import flags
    from nst_tf.backbones.table import layer_listing
    from nst_tf.config import RunConfig, StylizeConfig, check
    from nst_tf.recipes.stylize.recipe import STYLIZE
    from nst_tf.runs.run import run
except ModuleNotFoundError as error:
    print(f"stylize.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv", file=sys.stderr)
    sys.exit(2)

ABOUT = """Stylizes a photo after one or more paintings (neural style transfer, Gatys et al. 2016).

  python scripts/stylize.py --content=photo.jpg --style=a.jpg,b.jpg --output=out.png
  python scripts/stylize.py --backbone=kmeans ...    needs no download"""


def stylize(config: StylizeConfig, run_config: RunConfig, actions: set[str]) -> int:
    if "list_layers" in actions:
        check(config)
        print(layer_listing(config.backbone))
        return 0
    return run(STYLIZE, config, run_config)


if __name__ == "__main__":
    flags.main(stylize, [StylizeConfig, RunConfig], ABOUT, {"list_layers": "Print the layers of --backbone and end."})

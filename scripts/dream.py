"""Deep dream on a photo: flags around `nst_tf.recipes.dream`."""

import sys

try:
    from nst_tf import flags
    from nst_tf.backbones.table import layer_listing
    from nst_tf.config import check
    from nst_tf.recipes.dream.plan import DreamConfig, DreamRunConfig
    from nst_tf.recipes.dream.recipe import DREAM
    from nst_tf.runs.run import run
except ModuleNotFoundError as error:
    print(f"dream.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv", file=sys.stderr)
    sys.exit(2)

ABOUT = """Makes more of what a network sees in a photo (deep dream, Mordvintsev, Olah, Tyka 2015).

  python scripts/dream.py --content=photo.jpg --output=dream.png --backbone=squeezenet --weights=squeezenet.net
  python scripts/dream.py --guide=flowers.jpg ...              dreams of what is in another picture
  python scripts/dream.py --mode=caricature ...                exaggerates the photo itself
  python scripts/dream.py --frames=48 --output=zoom.webp ...   a zoom into the dream"""


def dream(config: DreamConfig, run_config: DreamRunConfig, actions: set[str]) -> int:
    if "list_layers" in actions:
        check(config)
        print(layer_listing(config.backbone))
        return 0
    return run(DREAM, config, run_config)


if __name__ == "__main__":
    flags.main(dream, [DreamConfig, DreamRunConfig], ABOUT, {"list_layers": "Print the layers of --backbone and end."})

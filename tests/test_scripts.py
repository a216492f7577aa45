"""Scripts as a user starts them: fast help, one-line errors with status 2, two steps of each."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .commands import Answer, answers, assert_one_line
from .conftest import save_picture

BUILT_ON = "AuthenticAMD/25/17"
ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
BUNDLED = ROOT / "nst_tf/backbones/kmeans_bundled.npz"


def _start(*arguments: str, script: str = "stylize.py", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPTS / script), *arguments], text=True, capture_output=True,
                          timeout=300, env={**os.environ, **environment})


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_help_answers_at_once(script: str) -> None:
    for _ in range(3):
        # Of the processor, since other tests run beside this one; a start that others slowed down is made again.
        before = os.times()
        done = _start("--help", script=script)
        after = os.times()
        seconds = after.children_user + after.children_system - before.children_user - before.children_system
        if seconds < 1.0:
            break
    assert done.returncode == 0 and "usage:" in done.stdout and not done.stderr
    assert 0 < seconds < 1.0


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_outside_the_venv_the_remedy_is_named(script: str, tmp_path: Path) -> None:
    # -S leaves out site-packages, -I the current folder: a Python in which nothing is installed.
    done = subprocess.run([sys.executable, "-I", "-S", str(SCRIPTS / script), "--help"], text=True,
                          capture_output=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2 and "pip install -e ." in done.stderr and done.stderr.count("\n") == 1


def test_importing_the_package_imports_no_tensorflow() -> None:
    code = "import sys, nst_tf; nst_tf.StylizeConfig; assert not {'tensorflow', 'keras', 'absl'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_version_and_layers() -> None:
    version, listing = answers([("stylize.py", "--version"), ("stylize.py", "--list_layers", "--backbone=vgg19")])
    assert version == (0, "nst_tf 0.1.0\n", "", [])
    assert listing.status == 0 and "block4_conv2" in listing.out and "84 px" in listing.out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Answer]]:
    """A folder and the answers of commands that make something there: in one process, since TensorFlow starts slowly.

    The slow tests, of test_processes.py too, start each command as a user does.
    """
    folder = tmp_path_factory.mktemp("made")
    (folder / "pictures").mkdir()
    photo, first, second = (save_picture(folder / f"pictures/{seed}.png", height, width, seed)
                            for seed, height, width in ((1, 47, 63), (2, 59, 41), (3, 45, 51)))
    kmeans, filters = ("--backbone=kmeans", f"--logdir={folder}/logs"), folder / "mine.npz"
    # Deeper layers take longer to learn and to trace.
    shallow = ("--content_layers=conv2", "--style_layers=conv1,conv2")
    dream = ("dream.py", f"--content={photo}", *kmeans, "--size=48", "--steps=1", "--octaves=2")
    commands: dict[str, tuple[str, ...]] = {
        "refused": (*dream, "--dream=conv9"),
        "two steps": ("stylize.py", f"--content={photo}", f"--style={first},{second}", *kmeans, *shallow, "--size=64",
                      "--min_size=48", "--steps=2", "--run=two", f"--output={folder}/new/out.jpg"),
        "learned": ("learn_filters.py", f"--pictures={folder}/pictures", f"--output={filters}"),
        "own filters": ("stylize.py", f"--content={photo}", f"--style={first}", *kmeans, *shallow,
                        f"--weights={filters}", "--size=48", "--steps=2"),
        "dream": (*dream, f"--output={folder}/d.jpg")}
    return folder, dict(zip(commands, answers(commands.values()), strict=True))


def test_two_steps(made: tuple[Path, dict[str, Answer]]) -> None:
    folder, done = made[0], made[1]["two steps"]
    output = folder / "new/out.jpg"
    assert done.status == 0, done.err
    assert done.out.splitlines()[0] == f"picture:     {output}"
    first, second, *bar = done.err.splitlines()
    assert first.startswith("nst_tf: TensorFlow 2.21")
    assert bar and all(re.match(r"[12]/2  \d+x\d+ px", line) for line in bar), bar
    assert second.startswith("nst_tf: the network computes in ")
    with Image.open(output) as image:
        assert image.format == "JPEG" and image.size == (64, 48)


def test_filters_of_own_pictures_are_learned_and_used(made: tuple[Path, dict[str, Answer]]) -> None:
    folder, learned, stylized = made[0], made[1]["learned"], made[1]["own filters"]
    assert learned.status == 0 and f"--weights={folder}/mine.npz" in learned.out, learned.err
    assert stylized.status == 0, stylized.err


def test_a_dream_and_an_error(made: tuple[Path, dict[str, Answer]]) -> None:
    folder, refused, done = made[0], made[1]["refused"], made[1]["dream"]
    assert_one_line(refused, "did you mean 'conv")
    assert done.status == 0 and "expect textures only" in done.err, done.err
    with Image.open(folder / "d.jpg") as image:
        assert image.size == (48, 36)


LEARNING: dict[str, list[str]] = {
    "does not exist": ["--pictures=none"], "written as .npz": ["--output=x.txt"],
    "cannot be written": ["--pictures=.", "--output=/proc/x.npz"], "--seed=-1": ["--seed=-1"]}
COMPARISON: dict[str, list[str]] = {
    "did you mean 'kmeans'? Valid: vgg19": ["--backbones=kmean"],
    "kmeans with weights 'self' is named twice": ["--backbones=kmeans,kmeans"],
    "write squeezenet=FILE": ["--judge=squeezenet"], "--content is missing": ["--backbones=kmeans"],
    "does not exist": ["--content=none.jpg", "--style=none.jpg"], "--size=0": ["--size=0"],
    "--backbones is given 2 times": ["--backbones=kmeans", "--backbones=vgg19"]}


def test_what_is_wrong_with_learning_is_one_line(tmp_path: Path) -> None:
    commands = (("learn_filters.py", *arguments) for arguments in LEARNING.values())
    for text, answer in zip(LEARNING, answers(commands, tmp_path), strict=True):
        assert_one_line(answer, text)


def test_what_is_wrong_with_a_comparison_is_one_line(tmp_path: Path) -> None:
    commands = (("compare_backbones.py", *arguments, f"--logdir={tmp_path}/logs") for arguments in COMPARISON.values())
    for text, answer in zip(COMPARISON, answers(commands), strict=True):
        assert_one_line(answer, text)
        assert answer.err.startswith("compare_backbones.py: ")
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_what_is_printed_can_be_pasted_into_a_shell_of_another_folder(tmp_path: Path, photo: str,
                                                                      painting: str) -> None:
    place = tmp_path / "it's (mine)\u3000$HOME"
    place.mkdir()
    command = [sys.executable, str(SCRIPTS / "stylize.py"), f"--content={os.path.relpath(photo, place)}",
               f"--style={os.path.relpath(painting, place)}", "--backbone=kmeans", "--weights=bundled", "--size=64",
               "--min_size=64", "--steps=400", "--logdir=my logs", "--output=a.png"]
    with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while not run.stderr.readline().startswith("1/400"):
            assert run.poll() is None
        run.terminate()
        said = run.stderr.read()
    assert run.returncode == 143

    def paste(line: str) -> str:
        # The shell in which it was printed has no environment of Python.
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, text=True, capture_output=True, timeout=300,
                              env={**os.environ, "PATH": "/usr/bin:/bin"})
        assert done.returncode == 0, done
        return done.stdout

    printed = paste(said.partition("to go on: ")[2])
    assert (place / "a.png").exists() and "run folder:" in printed
    assert "loss/total" in paste(printed.partition("TensorBoard: ")[2].rstrip() + " --inspect")


@pytest.mark.slow
def test_the_bundled_filters_are_made_again_bit_for_bit(tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="the bundled filters are learned from photos of scikit-image")
    done = _start(f"--output={tmp_path}/bundled.npz", script="learn_filters.py")
    assert done.returncode == 0, done.stderr
    made, shipped = ((path.read_bytes() for path in (tmp_path / "bundled.npz", BUNDLED)))
    if made != shipped and _cpu() != BUILT_ON:
        pytest.skip(f"made on {BUILT_ON}; this is {_cpu()}, whose BLAS rounds otherwise")
    assert made == shipped


def _cpu() -> str:
    """Vendor, family and model of the processor, on which the bits of BLAS depend."""
    path = Path("/proc/cpuinfo")
    lines = dict(line.partition(":")[::2] for line in path.read_text().splitlines()) if path.exists() else {}
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    return "/".join(fields.get(key, "?") for key in ("vendor_id", "cpu family", "model"))


def _bad_files(folder: Path) -> dict[str, str]:
    good = folder / "good.jpg"
    save_picture(good, 47, 63, 0)
    files = {"missing.jpg": None, "empty.jpg": b"", "text.jpg": b"this is no image",
             "cut.jpg": good.read_bytes()[:800]}
    for name, data in files.items():
        if data is not None:
            (folder / name).write_bytes(data)
    return {name: str(folder / name) for name in files}


def test_bad_pictures_end_with_one_line_and_status_2(tmp_path: Path, photo: str, painting: str) -> None:
    bad, texts = _bad_files(tmp_path), {"missing.jpg": "does not exist", "empty.jpg": "is empty",
                                        "text.jpg": "is not an image", "cut.jpg": "is damaged or cut off"}
    cases = [(flag, name) for flag in ("--content", "--style", "--init") for name in texts]
    commands = []
    for flag, name in cases:
        files = {"--content": photo, "--style": painting, flag: bad[name]}
        commands.append(("stylize.py", *(f"{key}={value}" for key, value in files.items()), "--backbone=kmeans",
                         f"--logdir={tmp_path}/logs"))
    for (flag, name), answer in zip(cases, answers(commands), strict=True):
        assert_one_line(answer, texts[name])
        assert flag in answer.err
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_pictures_of_every_mode_are_stylized(tmp_path: Path, painting: str) -> None:
    pixels = (np.indices((47, 63)).sum(0) * 500).astype(np.uint16)
    pictures = {mode: Image.fromarray((pixels >> 8).astype(np.uint8)).convert(mode)
                for mode in ("L", "LA", "P", "RGBA", "CMYK", "1")} | {"I;16": Image.fromarray(pixels)}
    commands = []
    for mode, picture in pictures.items():
        path = tmp_path / f"{mode}{'.jpg' if mode == 'CMYK' else '.png'}"
        picture.save(path)
        commands.append(("stylize.py", f"--content={path}", f"--style={painting}", "--backbone=kmeans",
                         "--weights=bundled", "--size=48", "--min_size=48", "--steps=2", f"--logdir={tmp_path}/logs",
                         f"--output={tmp_path}/{mode}_out.png"))
    for mode, answer in zip(pictures, answers(commands), strict=True):
        assert answer.status == 0, (mode, answer.err)
        with Image.open(tmp_path / f"{mode}_out.png") as made:
            assert made.size == (48, 36), mode


@pytest.mark.slow
def test_weights_that_cannot_be_downloaded_are_one_line(tmp_path: Path, photo: str, painting: str) -> None:
    done = _start(f"--content={photo}", f"--style={painting}", "--size=64", f"--logdir={tmp_path}/logs",
                  KERAS_HOME=str(tmp_path / "keras"), https_proxy="http://127.0.0.1:9")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("stylize.py: the weights 'imagenet' of vgg19 could not be downloaded")
    assert "--backbone=kmeans" in done.stderr and "Traceback" not in done.stderr

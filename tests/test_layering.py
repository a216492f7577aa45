"""The structure as data: who may import whom, what needs no TensorFlow, and how large functions and modules may be."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.dream.plan import DreamConfig, DreamRunConfig
from nst_tf.recipes.table import RECIPES
from nst_tf.recipes.units.plan import UnitsConfig
from nst_tf.runs.folder import locked
from nst_tf.runs.run import run

from .commands import answers, assert_one_line
from .conftest import save_picture

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "nst_tf").rglob("*.py"))
SOURCES = [*MODULES, *(path for folder in ("scripts", "benchmarks", "sample_drawing")
                       for path in sorted((ROOT / folder).glob("*.py")))]

# Top-level modules and packages of nst_tf, and what each may import of the others.
ARROWS = {
    "version": set(),
    "presets": set(),
    "vocabulary": set(),
    "grammar": {"values", "vocabulary"},
    "values": {"vocabulary"},
    "config": {"grammar", "values", "vocabulary"},
    "flag_help": {"config", "presets"},
    "flag_files": {"grammar", "presets", "values", "vocabulary"},
    "flag_values": {"grammar", "values", "vocabulary"},
    "flags": {"flag_files", "flag_help", "flag_values", "grammar", "streams", "values", "vocabulary", "version"},
    "commands": {"backbones.table", "config", "flags", "recipes", "runs"},
    "streams": set(),
    "keras_settings": {"vocabulary"},
    "runtime": {"keras_settings", "vocabulary"},
    "io": {"runtime", "strips", "vocabulary"},
    "types": set(),
    "strips": set(),
    "tensors": {"types"},
    "losses": {"tensors", "types", "grammar", "vocabulary"},
    "backbones": {"tensors", "types", "io", "grammar", "runtime", "vocabulary"},
    "optimize": {"strips", "tensors", "types"},
    "generators": {"io", "tensors", "types", "vocabulary"},
    "runs": {"io", "backbones.saved_model_facts", "config", "keras_settings", "runtime", "strips", "types",
             "vocabulary", "version"},
    "recipes": {"tensors", "types", "io", "losses", "backbones", "generators", "optimize", "runs", "config",
                "flag_values", "grammar", "keras_settings", "presets", "runtime", "streams", "strips", "values",
                "vocabulary", "version"},
}
# What is done before TensorFlow starts: checks of flags and files, records, and finished runs that are written again.
WITHOUT_TENSORFLOW = [
    "types", "commands", "config", "flag_files", "flags", "grammar", "values", "vocabulary", "keras_settings",
    "runtime", "strips", "runs.run", "runs.folder", "runs.record", "runs.session", "recipes.table", "io.animation",
    "io.contact_sheet", "io.deep", "io.masks", "io.signals", "recipes.units.panels",
]


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef):
            yield node


def test_imports_go_one_way() -> None:
    wrong = []
    for path in MODULES:
        room = path.relative_to(ROOT / "nst_tf").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        allowed = ARROWS[room] | {room, "version"}
        for name in _imports(path):
            target = name.removeprefix("nst_tf.")
            if target != name and not any(target == arrow or target.startswith(f"{arrow}.") for arrow in allowed):
                wrong.append(f"{_name(path)}: {room} may not import {name}")
    assert not wrong, wrong


def test_what_answers_early_loads_no_tensorflow() -> None:
    names = [f"nst_tf.{name}" for name in WITHOUT_TENSORFLOW]
    code = ("import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
            "print(sorted({'tensorflow', 'keras', 'tensorboard', 'h5py', 'rich'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code, *names], text=True, capture_output=True, timeout=120, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


LOCKED = "is being written by another process"


def _refusals(photo: str, painting: str, images: Path, logs: Path) -> dict[str, list[tuple[str, list[str]]]]:
    """Commands of each script that are refused, with a part of what is said.

    A bad value, a missing file; a finished run, one of other settings, of another recipe, a locked one.
    """
    pictures = [f"--content={photo}", f"--style={painting}", "--backbone=kmeans", f"--logdir={logs}"]
    dreams = [f"--content={photo}", "--backbone=kmeans", f"--logdir={logs}"]
    units = [f"--images={images}", "--backbone=kmeans"]
    batch = [f"--content={images}", f"--style={painting}", "--backbone=kmeans", f"--logdir={logs}"]
    clip = [f"--content={images}", f"--style={painting}", "--backbone=kmeans", f"--logdir={logs}"]
    swept = [*pictures, "--grid=steps:2,3"]
    compared = [f"--content={photo}", f"--style={painting}", "--backbones=kmeans=bundled", f"--logdir={logs}"]
    size, missing = "--size=0 is out of range", "does not exist"
    return {
        "stylize.py": [(size, ["--size=0"]), (missing, ["--content=none.jpg", f"--style={painting}"]),
                       ("is finished", [*pictures, "--run=finished"]), (LOCKED, [*pictures, "--run=locked"]),
                       ("(--seed differ)", [*pictures, "--run=finished", "--seed=3"]),
                       ("is one of dream", [*pictures, "--run=dreamt"])],
        "dream.py": [("--octaves=0 is out of range", ["--octaves=0"]), (missing, ["--content=none.jpg"]),
                     ("is one of stylize", [*dreams, "--run=finished"]), ("is finished", [*dreams, "--run=dreamt"]),
                     ("(--frames differ)", [*dreams, "--run=dreamt", "--frames=2"]),
                     (LOCKED, [*dreams, "--run=locked"])],
        "stylize_signal.py": [("--steps=0 is out of range", ["--steps=0"]),
                              (missing, ["--content=none.wav", "--style=none.wav"]),
                              ("is no signal but a picture", [f"--content={photo}", f"--style={painting}"])],
        "visualize_units.py": [(size, ["--size=0"]), (missing, ["--images=none", f"--output={logs}/u"]),
                               ("is one of stylize", [*units, f"--output={logs}/finished"]),
                               ("(--seed differ)", [*units, f"--output={logs}/seen", "--seed=3"]),
                               (LOCKED, [*units, f"--output={logs}/locked"])],
        "compare_backbones.py": [(size, ["--size=0"]), (missing, ["--content=none.jpg", f"--style={painting}"]),
                                 ("is one of stylize", [*compared, "--run=finished"]),
                                 (LOCKED, [*compared, "--run=locked"])],
        "run_batch.py": [(size, [f"--content={images}", "--size=0"]), ("is one of stylize", [*batch, "--run=finished"]),
                         (missing, ["--jobs=none.csv"]), ("holds no picture", [f"--content={logs}"]),
                         (LOCKED, [*batch, "--run=locked"])],
        "run_sweep.py": [(size, [*pictures, "--grid=size:0,40"]), ("is one of stylize", [*swept, "--run=finished"]),
                         ("--grid is missing", pictures), (LOCKED, [*swept, "--run=locked"])],
        "stylize_video.py": [(size, ["--size=0"]), (missing, ["--content=none.mp4", f"--style={painting}"]),
                             ("is one of stylize", [*clip, "--run=finished"]), (LOCKED, [*clip, "--run=locked"]),
                             ("--frames=0 is out of range", ["--frames=0"])],
        "export_model.py": [("did you mean 'vgg19'", ["--backbone=vgg91"]),
                            ("none.net", ["--backbone=squeezenet", "--weights=none.net", "--output=x"])],
        "train_fast.py": [("--batch=0 is out of range", ["--batch=0"]),
                          (missing, ["--photos=none", f"--style={painting}", "--backbone=kmeans"])],
        "learn_filters.py": [("--seed=-1 is out of range", ["--seed=-1"]), (missing, ["--pictures=none.jpg"])],
        "get_weights.py": [("did you mean 'squeezenet1_1'", ["--backbone=squeezenet1.1"]),
                           ("there is nothing to fetch; give one of", ["--backbone=squeezenet"])],
        "build_gallery.py": [(size, ["--size=0"]), ("bald", ["--presets=bald", "--backbone=kmeans"])],
        "make_samples.py": [("--seed=-1 is out of range", ["--seed=-1"]),
                            ("cannot be written", ["--output_dir=/proc/x"])]}


def _finish(name: str, config: Any, run_config: Any = None) -> None:
    """A folder as it stands after the last step, which no network has made."""
    stub = RECIPES[name]._replace(engine=f"tests.stub_engines:{name}", needs_tensorflow=False)
    assert run(stub, config, run_config) == 0


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
def test_a_refused_command_loads_no_tensorflow(script: str, photo: str, painting: str, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    logs, images = tmp_path / "logs", tmp_path / "images"
    images.mkdir()
    save_picture(images / "a.png", 40, 50, seed=3)
    with monkeypatch.context() as patch:
        patch.setattr("nst_tf.runs.follow._board", lambda *_: _Silent())
        _finish("stylize", StylizeConfig(content=photo, style=(painting,), backbone="kmeans"),
                RunConfig(logdir=str(logs), run="finished"))
        _finish("dream", DreamConfig(content=photo, backbone="kmeans"), DreamRunConfig(logdir=str(logs), run="dreamt"))
        _finish("units", UnitsConfig(images=(str(images),), backbone="kmeans", output=f"{logs}/seen"))
    texts, commands = zip(*_refusals(photo, painting, images, logs)[script], strict=True)
    with locked(logs / "locked"):
        for text, answer in zip(texts, answers((script, *command) for command in commands), strict=True):
            assert_one_line(answer, text)


class _Silent:
    """In place of TensorBoard."""

    def __call__(self, progress: Any) -> None:
        pass

    def close(self) -> None:
        pass


def test_the_modules_are_found() -> None:
    assert len(MODULES) > 50 and len(SOURCES) > len(MODULES) + 10


def test_runs_and_recipes_import_at_the_top() -> None:
    wrong = [f"{_name(path)}: {function.name} imports"
             for path in MODULES if {"runs", "recipes"} & set(path.parts) and path.name != "metrics.py"
             for function in _functions(path)
             if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(function))]
    assert not wrong, wrong


def test_what_computes_neither_prints_nor_writes() -> None:
    wrong = [f"{_name(path)}: {word}" for path in MODULES if {"losses", "optimize"} & set(path.parts)
             for word in ("print(", "tf.summary", "open(") if word in path.read_text(encoding="utf-8")]
    assert not wrong, wrong


def test_functions_and_modules_are_small() -> None:
    wrong = []
    for path in SOURCES:
        size = len(path.read_text(encoding="utf-8").splitlines())
        if size > 400:
            wrong.append(f"{_name(path)} has {size} lines")
        for function in _functions(path):
            docstring = ast.get_docstring(function, clean=False) or ""
            lines = (function.end_lineno or 0) - function.lineno + 1 - len(docstring.splitlines())
            if lines > 50:
                wrong.append(f"{_name(path)}: {function.name} has {lines} lines")
    assert not wrong, wrong


def test_scripts_are_short() -> None:
    sizes = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "scripts").glob("*.py")}
    assert sizes and not {name: size for name, size in sizes.items() if size >= 60}


def test_every_module_and_public_function_says_what_it_is() -> None:
    wrong = []
    for path in MODULES:
        if path.name != "__init__.py" and not ast.get_docstring(_tree(path)):
            wrong.append(_name(path))
        wrong += [f"{_name(path)}: {node.name}" for node in _tree(path).body
                  if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
                  and not ast.get_docstring(node)]
    assert not wrong, wrong

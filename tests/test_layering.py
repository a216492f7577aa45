"""The structure as data: who may import whom, what needs no TensorFlow, and how large functions and modules may be."""

import ast
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
    "grammar": {"vocabulary"},
    "config": {"grammar", "vocabulary"},
    "flag_help": {"config", "presets"},
    "flags": {"flag_help", "presets", "vocabulary", "version"},
    "commands": {"backbones.table", "config", "flags", "recipes", "runs"},
    "runtime": set(),
    "io": {"vocabulary"},
    "types": set(),
    "tensors": {"types"},
    "losses": {"tensors", "types", "grammar", "vocabulary"},
    "backbones": {"tensors", "types", "io", "grammar", "runtime", "vocabulary"},
    "optimize": {"tensors", "types"},
    "runs": {"io", "backbones.saved_model_facts", "config", "runtime", "types", "vocabulary", "version"},
    "recipes": {"tensors", "types", "io", "losses", "backbones", "optimize", "runs", "config", "grammar", "presets",
                "runtime", "vocabulary", "version"},
}
# What is done before TensorFlow starts: checks of flags and files, records, and finished runs that are written again.
WITHOUT_TENSORFLOW = [
    "types", "commands", "config", "flags", "grammar", "vocabulary", "runtime", "runs.run", "runs.folder",
    "runs.record", "runs.session", "recipes.table", "io.animation", "io.contact_sheet", "io.deep", "io.masks",
    "recipes.units.panels",
]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(ROOT / "nst_tf").parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for name in _imports(path):
        if name.startswith("nst_tf.") and name != "nst_tf.version":
            target = name.removeprefix("nst_tf.")
            allowed = ARROWS[room] | {room}
            assert any(target == arrow or target.startswith(f"{arrow}.") for arrow in allowed), (
                f"{path.name}: {room} may not import {name}")


# A program that runs a script, and at its end says which slow packages were loaded: those of TensorFlow, and rich.
_LOADED = """
import runpy, sys
heavy = {"tensorflow", "keras", "tensorboard", "h5py", "rich"}
try:
    status = 0
    if sys.argv[1] == "-m":
        for name in sys.argv[2:]:
            __import__(name)
    else:
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    status = end.code
print("LOADED", status, sorted(heavy & set(sys.modules)))
"""


def _loaded(*arguments: str, folder: Path = ROOT) -> tuple[str, str]:
    """The exit status of a script and what it has loaded of TensorFlow, as one line; and what it says."""
    done = subprocess.run([sys.executable, "-c", _LOADED, *arguments], text=True, capture_output=True, timeout=120,
                          cwd=folder)
    return done.stdout.splitlines()[-1] if done.stdout else "", done.stderr


def test_what_answers_early_loads_no_tensorflow() -> None:
    assert _loaded("-m", *(f"nst_tf.{name}" for name in WITHOUT_TENSORFLOW)) == ("LOADED 0 []", "")


LOCKED = "is being written by another process"


def _refusals(photo: str, painting: str, images: Path, logs: Path) -> dict[str, list[tuple[str, list[str]]]]:
    """Commands of each script that are refused, with a part of what is said.

    A bad value, a missing file; a finished run, one of other settings, of another recipe, a locked one.
    """
    pictures = [f"--content={photo}", f"--style={painting}", "--backbone=kmeans", f"--logdir={logs}"]
    dreams = [f"--content={photo}", "--backbone=kmeans", f"--logdir={logs}"]
    units = [f"--images={images}", "--backbone=kmeans"]
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
        "visualize_units.py": [(size, ["--size=0"]), (missing, ["--images=none", f"--output={logs}/u"]),
                               ("is one of stylize", [*units, f"--output={logs}/finished"]),
                               ("(--seed differ)", [*units, f"--output={logs}/seen", "--seed=3"]),
                               (LOCKED, [*units, f"--output={logs}/locked"])],
        "compare_backbones.py": [(size, ["--size=0"]), (missing, ["--content=none.jpg", f"--style={painting}"]),
                                 ("is one of stylize", [*compared, "--run=finished"]),
                                 (LOCKED, [*compared, "--run=locked"])],
        "export_model.py": [("did you mean 'vgg19'", ["--backbone=vgg91"]),
                            ("none.net", ["--backbone=squeezenet", "--weights=none.net", "--output=x"])],
        "learn_filters.py": [("--seed=-1 is out of range", ["--seed=-1"]), (missing, ["--pictures=none.jpg"])],
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
    with locked(logs / "locked"):
        for text, command in _refusals(photo, painting, images, logs)[script]:
            loaded, said = _loaded(str(ROOT / "scripts" / script), *command)
            assert loaded == "LOADED 2 []" and said.count("\n") == 1 and text in said, (command, said)


class _Silent:
    """In place of TensorBoard."""

    def __call__(self, progress: Any) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("path", [path for path in MODULES if {"runs", "recipes"} & set(path.parts)],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_runs_and_recipes_import_at_the_top(path: Path) -> None:
    for function in _functions(path):
        inside = [node for node in ast.walk(function) if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert not inside or path.name == "metrics.py", f"{path.name}: {function.name} imports"


@pytest.mark.parametrize("path", [path for path in MODULES if {"losses", "optimize"} & set(path.parts)],
                         ids=lambda path: path.name)
def test_what_computes_neither_prints_nor_writes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not any(word in text for word in ("print(", "tf.summary", "open("))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_modules_are_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
    for function in _functions(path):
        docstring = ast.get_docstring(function, clean=False) or ""
        lines = (function.end_lineno or 0) - function.lineno + 1 - len(docstring.splitlines())
        assert lines <= 50, f"{path.name}: {function.name} has {lines} lines"


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_scripts_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_and_public_function_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name != "__init__.py":
        assert ast.get_docstring(tree), path
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name}"

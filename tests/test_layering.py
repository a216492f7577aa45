"""The structure as data: who may import whom, and how large a function or a module may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "nst_tf").rglob("*.py"))
SOURCES = MODULES + sorted((ROOT / "scripts").glob("*.py")) + sorted((ROOT / "benchmarks").glob("*.py"))

# Top-level modules and packages of nst_tf, and what each may import of the others.
ARROWS = {
    "version": set(),
    "vocabulary": set(),
    "grammar": {"vocabulary"},
    "config": {"grammar", "vocabulary"},
    "flags": {"config", "vocabulary", "version"},
    "runtime": set(),
    "samples": set(),
    "io": {"vocabulary"},
    "types": set(),
    "tensors": {"types"},
    "losses": {"tensors", "types", "grammar", "vocabulary"},
    "backbones": {"tensors", "types", "io", "grammar", "vocabulary"},
    "optimize": {"tensors", "types"},
    "track": {"io", "optimize.state", "vocabulary"},
    "recipes": {"tensors", "types", "io", "losses", "samples", "backbones", "optimize", "track", "config", "grammar",
                "runtime", "vocabulary", "version"},
}
# These answer before TensorFlow is imported (--help, --list_layers, every check of a flag or a file).
WITHOUT_TENSORFLOW = [
    "types.py", "vocabulary.py", "grammar.py", "config.py", "flags.py", "runtime.py", "io/*.py",
    "samples/*.py",
    "backbones/facts.py", "backbones/table.py", "backbones/*_facts.py", "backbones/*_recipe.py", "losses/terms.py",
    "losses/guides.py",
    "optimize/pyramid.py", "optimize/octaves.py",
    "optimize/state.py", "track/checkpoint.py", "track/files.py", "track/progress.py",
    "track/cadence.py", "recipes/plan*.py", "recipes/folder.py", "recipes/run.py",
    "recipes/colors.py", "recipes/finish.py",
    "recipes/filters.py", "recipes/export.py", "recipes/compare.py", "recipes/compare_table.py",
    "recipes/contestants.py", "recipes/gallery.py", "recipes/units.py", "recipes/unit_maxima.py",
    "recipes/unit_report.py", "recipes/unit_views.py", "recipes/dream_run.py", "recipes/dream_plan.py",
    "recipes/dream_folder.py", "recipes/dream_channels.py", "io/animation.py",
]


def _imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_of_the_recipes_only_those_of_runs_and_their_folders_know_the_trackers() -> None:
    for path in (ROOT / "nst_tf/recipes").glob("*.py"):
        knows = any(name.startswith("nst_tf.track") for name in _imports(path))
        assert knows == (path.name in ("run.py", "folder.py", "compare.py", "units.py", "dream_run.py",
                                       "dream_folder.py")), path


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


@pytest.mark.parametrize("pattern", WITHOUT_TENSORFLOW)
def test_what_answers_early_imports_no_tensorflow(pattern: str) -> None:
    paths = list((ROOT / "nst_tf").glob(pattern))
    assert paths
    for path in paths:
        heavy = {"tensorflow", "keras", "tensorboard", "h5py"}
        assert not {name.partition(".")[0] for name in _imports(path, top_level_only=True)} & heavy, path


@pytest.mark.parametrize("path", [path for path in MODULES if {"losses", "optimize"} & set(path.parts)],
                         ids=lambda path: path.name)
def test_what_computes_neither_prints_nor_writes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not any(word in text for word in ("print(", "tf.summary", "open("))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_modules_are_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path
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

"""What pip installs: the files, the commands, and what they say where there is no checkout."""

import configparser
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nst_tf import commands, flags
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.table import RECIPES
from nst_tf.runs import run as run_module, session

from . import stub_engines

ROOT = Path(__file__).resolve().parents[1]


def _console_scripts() -> dict[str, str]:
    """{command: "module:object"} of setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    return {name.strip(): target.strip() for name, _, target in (line.partition("=") for line in lines if line)}


def test_every_recipe_has_a_command_and_a_script() -> None:
    assert set(_console_scripts()) == {f"nst-{name}" for name in RECIPES}
    for name, target in _console_scripts().items():
        module, _, attribute = target.partition(":")
        command = getattr(commands, attribute)
        assert module == "nst_tf.commands" and f"nst-{command.recipe}" == name
        script = (ROOT / "scripts" / RECIPES[command.recipe].script).read_text(encoding="utf-8")
        assert f"from nst_tf.commands import {attribute}\n" in script and f"\n    {attribute}()\n" in script


def test_the_installed_files_are_the_package_and_its_data(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build_py",
                           f"--build-lib={tmp_path}"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    built = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert built == {path.relative_to(ROOT) for path in (ROOT / "nst_tf").rglob("*")
                     if path.is_file() and "__pycache__" not in path.parts}
    assert Path("nst_tf/backbones/kmeans_bundled.npz") in built


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_names_the_command_as_it_was_called(recipe: str, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    for called, shown, other in (
            (f"scripts/{RECIPES[recipe].script}", f"  python scripts/{RECIPES[recipe].script} --", "nst-"),
            (f"/usr/bin/nst-{recipe}", f"  nst-{recipe} --", "scripts/")):
        monkeypatch.setattr(sys, "argv", [called, "--help"])
        with pytest.raises(SystemExit, match="^0$"):
            getattr(commands, recipe)()
        about = capsys.readouterr().out.partition("usage:")[0]
        assert shown in about and other not in about


def test_without_a_checkout_a_stopped_run_goes_on_by_the_installed_command(
        tmp_path: Path, photo: str, painting: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(session, "CHECKOUT", tmp_path)
    monkeypatch.setattr("nst_tf.runs.follow._board", lambda *_: _Silent())
    monkeypatch.setitem(stub_engines.EVENTS, 1, stub_engines.kill(signal.SIGTERM))
    recipe = RECIPES["stylize"]._replace(engine="tests.stub_engines:stylize", needs_tensorflow=False)
    config = StylizeConfig(content=photo, style=(painting,), backbone="kmeans", size=64, steps=3)
    assert run_module.run(recipe, config, RunConfig(logdir=str(tmp_path), run="r")) == 143
    program, *words = shlex.split(capsys.readouterr().err.splitlines()[-1].partition("to go on: ")[2])
    assert Path(program).name == "nst-stylize"
    (again, again_run), _ = flags.parse(["x", *words], [StylizeConfig, RunConfig], "", {})
    assert run_module.run(recipe, again, again_run) == 0


def test_a_command_beside_python_is_named_so_that_it_can_be_typed(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("venv", "system"):
        (tmp_path / folder).mkdir()
        for name in ("python", "nst-dream"):
            (tmp_path / folder / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv/python"))
    monkeypatch.chdir(tmp_path)
    for path in ("system", "venv:system", ""):
        monkeypatch.setenv("PATH", ":".join(str(tmp_path / part) for part in path.split(":") if part))
        assert session.beside_python("nst-dream") == str(tmp_path / "venv/nst-dream")
    assert session.beside_python("elsewhere") == "elsewhere"


class _Silent:
    """In place of TensorBoard."""

    def __call__(self, progress: Any) -> None:
        pass

    def close(self) -> None:
        pass

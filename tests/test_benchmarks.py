"""Benchmarks start: each is imported, and reads the flags of its own usage lines."""

import importlib
import re
import runpy
import sys
from pathlib import Path

import pytest
from absl import flags

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "benchmarks").glob("[!_]*.py"))}
# What other benchmarks import or start.
HELPERS = {"contest_page", "objective", "scores", "squeezenet", "step_profile", "torch_loop", "tutorial"}
# (benchmark, arguments) of every usage line.
USAGES = [(name, line) for name, text in BENCHMARKS.items()
          for line in re.findall(rf"^    python -m benchmarks\.{name} (.*)$", text, re.MULTILINE)]


def test_all_are_modules_of_one_package() -> None:
    assert BENCHMARKS.keys() - HELPERS == {name for name, _ in USAGES}
    for name, text in BENCHMARKS.items():
        assert importlib.import_module(f"benchmarks.{name}").__doc__
        assert "sys.path" not in text and "python benchmarks/" not in text, name


@pytest.mark.parametrize("name, arguments", USAGES, ids=[name for name, _ in USAGES])
def test_a_usage_line_is_read(name: str, arguments: str, monkeypatch: pytest.MonkeyPatch,
                              capsys: pytest.CaptureFixture[str]) -> None:
    """One more flag, which none has, is all that is complained about, and ends it before any work."""
    monkeypatch.setattr(sys, "argv", [name, *arguments.split(), "--no_such_flag"])
    with pytest.raises((flags.Error, SystemExit)) as raised:
        runpy.run_path(str(ROOT / f"benchmarks/{name}.py"), run_name="__main__")
    said = capsys.readouterr().err.splitlines() or [str(raised.value)]
    assert re.search(r"[^-]--no_such_flag$|'no_such_flag'$", said[-1])
    assert not re.search(r"--\w.*--\w", said[-1])

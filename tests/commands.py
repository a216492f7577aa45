"""Commands of scripts, several in one process: each start of Python takes time, of TensorFlow much more."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Answer(NamedTuple):
    """What a command leaves: its exit status, what it prints, and which slow packages are loaded then."""

    status: int
    out: str
    err: str
    loaded: list[str]


_PROGRAM = """
import contextlib, io, json, runpy, sys, traceback
heavy, answers = {"tensorflow", "keras", "tensorboard", "h5py", "rich"}, []
for command in json.load(sys.stdin):
    sys.argv, out, err, status = command, io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
    answers.append([status, out.getvalue(), err.getvalue(), sorted(heavy & set(sys.modules))])
print(json.dumps(answers))
"""


def answers(commands: Iterable[Sequence[str]], folder: Path = ROOT) -> list[Answer]:
    """What `python scripts/SCRIPT ARGUMENTS` answers in a folder, for each (SCRIPT, *ARGUMENTS)."""
    lines = json.dumps([[str(ROOT / "scripts" / script), *arguments] for script, *arguments in commands])
    done = subprocess.run([sys.executable, "-c", _PROGRAM], input=lines, text=True, capture_output=True, timeout=300,
                          cwd=folder)
    assert done.returncode == 0, done.stderr
    return [Answer(*answer) for answer in json.loads(done.stdout)]


def assert_one_line(answer: Answer, text: str) -> None:
    """A refusal: status 2, one line on stderr that holds `text`, nothing printed, no slow package loaded."""
    assert (answer.status, answer.out, answer.loaded) == (2, "", []), answer
    assert text in answer.err and answer.err.count("\n") == 1, answer

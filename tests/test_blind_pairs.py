"""Looks at hidden pairs: what is recorded comes back as the value that was on that side."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import blind_pairs
from benchmarks.blind_pairs import LOOKS, Pair, code, count, is_swapped, record, sheet
from nst_tf.vocabulary import UserError

PAIRS = [Pair(Path("a.jpg"), Path("b.jpg")), Pair(Path("c.jpg"), Path("d.jpg"))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(blind_pairs, "pairs", lambda: PAIRS)
    for name in ("pictures", "sheets"):
        (tmp_path / name).mkdir()
    (tmp_path / "protocol.json").write_text(json.dumps({"flag": "jitter", "values": ["0", "2"], "seed": 7}))
    for pair in PAIRS:
        for value in ("0", "2"):
            (tmp_path / f"pictures/{code(7, pair.name, value)}.json").write_text(json.dumps(
                {"squeezenet": [0.1, 0.5], "vgg16": [0.2, 0.6]}))
        for look in range(LOOKS):
            (tmp_path / f"sheets/{code(7, pair.name, look)}.png").touch()
    return tmp_path


def test_sides_are_counted_as_values(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for look in range(LOOKS):
        side_of_second = "left" if is_swapped(7, "a_b", look) else "right"
        record(folder, code(7, "a_b", look), side_of_second)
    record(folder, code(7, "c_d", 0), "same")
    table = count(folder)
    assert "| a_b | 2, 2 | 0.100, 0.500 | 0.100, 0.500 | 0.200, 0.600 | 0.200, 0.600 |" in table
    assert "| c_d | same, no look |" in table
    assert table.endswith("pairs won: --jitter 0 0, 2 1, neither 1")
    assert capsys.readouterr().out.split("\n")[2] == "3 of 4"


def test_an_answer_stays_and_names_are_checked(folder: Path) -> None:
    first = code(7, "a_b", 0)
    record(folder, first, "left")
    for name, side, line in ((first, "right", f"--sheet={first} has an answer, left"), ("abc", "left", "--sheet"),
                             (code(7, "c_d", 0), "middle", "--better")):
        with pytest.raises(UserError, match=line):
            record(folder, name, side)
    assert json.loads((folder / "looks.json").read_text()) == {first: "left"}


def test_the_order_is_hidden_and_both_orders_occur() -> None:
    names = [code(seed, "a_b", look) for seed in range(20) for look in range(LOOKS)]
    assert len(set(names)) == 40 and not any("a_b" in name for name in names)
    assert 5 < sum(is_swapped(seed, "a_b", 0) for seed in range(20)) < 15
    left, right = np.zeros((3, 4, 3), np.float32), np.ones((3, 4, 3), np.float32)
    both = sheet([left, right], 2)
    assert both.shape == (6 + 16, 2 * (8 + 16), 3)
    assert (both[8:-8, 8:16] == 0).all() and (both[8:-8, 32:40] == 1).all()

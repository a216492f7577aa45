"""Consumers of `Progress`: event files read back, the progress bar, cadences, each with a clock of its own."""

import io
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
from nst_tf.runs.cadence import every_seconds, is_logged
from nst_tf.runs.metrics import MetricsFile, Preview, SnapshotFiles, Speed, read_rows
from nst_tf.runs.progress import Progress
from nst_tf.runs.tensorboard import TensorBoard, write_comparison, write_metrics
from nst_tf.vocabulary import RunError

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
        steps_left=total - step, losses=losses, details=lambda: details, state=state,
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
    assert [progress.state.step for progress in _run() if is_logged(progress, 5)] == [1, 5, 8, 9, 10, 15, 20]


def test_every_seconds() -> None:
    clock = Clock()
    is_due = every_seconds(3, clock)
    assert [is_due() for _ in range(6)] == [False, False, True, False, False, True]


def test_speed_leaves_out_compilation() -> None:
    speed = Speed(Clock(tick=0.5))
    rates = {progress.state.step: speed.between_rows(progress) for progress in _run() if is_logged(progress, 5)}
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


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nand more")

    board = TensorBoard(tmp_path, 1, Clock())
    monkeypatch.setattr(tf.summary, "scalar", full)
    with pytest.raises(RunError, match="No space left on device and more.*free some space"):
        board(_progress(1))


def test_metrics_file_refuses_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl", 1, Clock())
    broken = _progress(3)._replace(losses={"loss/total": tf.constant(np.inf)})
    with pytest.raises(RunError, match="the loss is inf at step 3"):
        metrics(broken)


def test_snapshots_keep_exactly_the_steps_asked_for(tmp_path: Path) -> None:
    snapshots = SnapshotFiles(tmp_path, (3, 20, 99), {"nst_tf": "x"})
    for progress in _run():
        snapshots(progress)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000003.png", "step_000020.png"]


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
    preview, written = Preview(tmp_path / "output.png", 1e9, Clock(), {}), {}
    for progress in _run():
        preview(progress)
        written[progress.step] = (tmp_path / "output.png").read_bytes()
    changed = [step for step in written if written[step] != written.get(step - 1)]
    assert changed == [1, 8]


def test_checkpoint_round_trip_keeps_the_newest_two(tmp_path: Path) -> None:
    assert _load(tmp_path) is None and checkpoint.stored(tmp_path) == []
    for step in (3, 11, 7):
        _save(tmp_path, _progress(step).state)
    assert [path.name for path in checkpoint.stored(tmp_path)] == ["step_00000011.npz", "step_00000007.npz"]
    loaded, saved = _load(tmp_path), _progress(11).state
    assert loaded is not None and loaded[:3] == saved[:3]
    for one, other in zip(tf.nest.flatten(loaded), tf.nest.flatten(saved), strict=True):
        np.testing.assert_array_equal(one, other)


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
    with pytest.raises(RunError, match="no longer finite at step 6"):
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
    parameters = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
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


def test_progress_bar_on_a_terminal_moves_on_one_line() -> None:
    stream = _Terminal()
    bar = ProgressBar(stream, Clock())
    for progress in _run():
        bar(progress)
    bar.close()
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n") and text.count("\r") == 20
    last = text.rstrip("\n").rpartition("\r")[2]
    assert "[########################]  20/20  23x17 px" in last
    assert max(len(part) for part in text.replace("\n", "").replace("\x1b[K", "").split("\r")) < 80
    assert "steps/s" in last and "0:00 left" in last and "loss 0.1" in last


@pytest.mark.parametrize("columns", [20, 50, 60, 70, 80, 200])
def test_progress_bar_never_fills_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = _Terminal()
    bar = ProgressBar(stream, Clock(tick=123.456))
    for step in range(1, 5):
        bar(_progress(1234 * step, total=12345)._replace(steps_left=1e7))
    lines = stream.getvalue().replace("\x1b[K", "").split("\r")
    assert max(map(len, lines)) < columns and all("/12345" in line for line in lines[1:])


def test_progress_bar_elsewhere_prints_plain_lines_now_and_then() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream, Clock())
    for progress in _run():
        bar(progress)
    bar.close()
    text = stream.getvalue()
    assert "\r" not in text and "\x1b" not in text
    assert [line.split()[1] for line in text.splitlines()][0] == "1/20"
    assert text.splitlines()[-1].split()[1] == "20/20"
    assert 4 <= text.count("\n") <= 9


def test_plain_lines_name_their_unit_and_are_few_where_stages_are_many() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream, Clock(tick=0.01))
    for step in range(1, 193):
        bar(_progress(step, total=192)._replace(unit="images", ends_stage=True, stage=step))
    lines = stream.getvalue().splitlines()
    assert [line.split()[1:3] for line in lines] == [["1/192", "images"], ["192/192", "images"]]


def test_time_left_counts_the_larger_stages_to_come() -> None:
    stream = _Terminal()
    bar = ProgressBar(stream, Clock(tick=1.0))
    for step in range(1, 9):
        # After 8 of 20 steps the other 12 have four times the pixels: 48 steps' time.
        bar(_progress(step)._replace(steps_left=8 - step + 48))
    line = stream.getvalue().rpartition("\r")[2]
    rate = float(line.split("steps/s")[0].split()[-1])
    minutes, seconds = line.split(" left")[0].split()[-1].split(":")
    # The rate is printed with one decimal.
    assert 60 * int(minutes) + int(seconds) == pytest.approx(48 / rate, rel=0.05 / rate)

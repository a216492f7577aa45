"""Writes a run for TensorBoard: scalars of every term, layer and style, pictures, settings."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.compat.proto import event_pb2, summary_pb2
# Its part `api` needs `tf.keras`, which is another package where TF_USE_LEGACY_KERAS is set.
from tensorboard.plugins.hparams.summary_v2 import HParam, Metric, hparams, hparams_config
from tensorboard.plugins.audio import metadata as audio_metadata
from tensorboard.plugins.image.metadata import create_summary_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from nst_tf.io import images
from nst_tf.io.files import could_not_be_written, system_error
from nst_tf.io.pixels import fit, resized_rows
from nst_tf.runs.metrics import Speed
from nst_tf.runs.progress import Progress, Sound
from nst_tf.runtime import quiet_stderr
from nst_tf.strips import Picture

# TensorBoard's page shows 10 pictures of a tag unless told otherwise, and becomes slow with hundreds.
PICTURES_PER_RUN = 40
# A larger picture is shown smaller: an event file has each of them.
LARGEST_SIDE_PX = 2048


class TensorBoard:
    """Writes event files into a run's folder, `step` being the optimization step over all stages."""

    def __init__(self, folder: Path, log_every: int, now: Callable[[], float], resumed_step: int = 0) -> None:
        with _disk_errors(folder):
            if resumed_step:
                _drop_later_steps(folder, resumed_step)
            self._writer = tf.summary.create_file_writer(str(folder))
        self._folder = folder
        self._log_every = log_every
        self._speed = Speed(now)

    def start(self, settings: Mapping[str, Any], facts: Mapping[str, Any],
              shown: Mapping[str, Callable[[], Picture | Sound]]) -> None:
        """Writes what does not change: inputs by tag, the settings as text and as hyper-parameters.

        Args:
            facts: further hyper-parameters by which networks are compared, such as the number of `parameters`.
        """
        with _disk_errors(self._folder), self._writer.as_default(step=0):
            for tag, make in shown.items():
                _write({}, {tag: _bounded(make())})
            tf.summary.text("config", _as_markdown(settings))
            chosen = {name.lstrip("-"): _flat(value) for name, value in settings.items()}
            hparams(chosen | dict(facts), trial_id=self._folder.name)
            self._writer.flush()

    def __call__(self, progress: Progress) -> None:
        values = {**progress.losses, **progress.details()} if progress.is_logged(self._log_every) else {}
        shown = {tag: _bounded(make()) for tag, make in _shown(progress).items()}
        if not shown and not values:
            return
        with _disk_errors(self._folder), self._writer.as_default(step=progress.step):
            speed = self._speed.between_rows(progress) if values else None
            _write(values if speed is None else {**values, "speed/steps_per_second": speed}, shown)
            if shown:
                self._writer.flush()

    def close(self) -> None:
        """Writes the last events to the disk."""
        with _disk_errors(self._folder):
            _close(self._writer)


def write_metrics(folder: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Writes scalars by tag that are known when a run is finished. They replace those of an earlier call."""
    with _written_anew(folder, ".metrics", step):
        _write(metrics, {})


def write_comparison(folder: Path, hyper_parameters: Sequence[str], metrics: Mapping[str, str],
                     sheet: Picture) -> None:
    """Writes the columns of TensorBoard's HPARAMS page and a contact sheet into the folder around several runs.

    Args:
        hyper_parameters: names of those by which the runs are compared.
        metrics: {tag of `write_metrics`: name of its column}.
    """
    with _written_anew(folder, ".comparison", 0):
        _write({}, {"contact_sheet": sheet})
        hparams_config([HParam(name) for name in hyper_parameters],
                       [Metric(tag, display_name=name) for tag, name in metrics.items()])


def write_pictures(folder: Path, pictures: Iterable[tuple[str, Picture]]) -> None:
    """Writes pairs of tag and picture one by one. They replace those of an earlier call."""
    with _written_anew(folder, ".pictures", 0):
        for tag, picture in pictures:
            _write({}, {tag: picture})
            del picture  # the next one is made while this would live


@contextlib.contextmanager
def _written_anew(folder: Path, suffix: str, step: int) -> Iterator[None]:
    """Writes the summaries of the block into an event file of their own, which replaces the last of this suffix."""
    with _disk_errors(folder):
        replaced = list(folder.glob(f"events.*{suffix}"))
        writer = tf.summary.create_file_writer(str(folder), filename_suffix=suffix)
        with writer.as_default(step=step):
            yield
        _close(writer)
        for old in replaced:
            old.unlink()


def _write(scalars: Mapping[str, Any], shown: Mapping[str, Picture | Sound]) -> None:
    """Writes scalars, pictures and sounds by tag as one event.

    By `tf.summary.scalar` and `tf.summary.image`, one event for each, the rows of a small run took a 20th of its time.
    """
    parts = [scalar_pb(tag, float(value)) for tag, value in scalars.items()]
    parts += [_sound_pb(tag, each) if isinstance(each, Sound) else _picture_pb(tag, each)
              for tag, each in shown.items()]
    if parts:
        whole = summary_pb2.Summary(value=[value for part in parts for value in part.value])
        tf.summary.experimental.write_raw_pb(whole.SerializeToString())


def _picture_pb(tag: str, picture: Picture) -> summary_pb2.Summary:
    """What `tf.summary.image` writes of a picture; its pixels are those of `images.save`."""
    height, width = picture.shape[:2]
    strings = [str(width).encode(), str(height).encode(), images.encode(picture, ".png")]
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(
        tag=tag, tensor=make_tensor_proto(strings), metadata=create_summary_metadata(None, None))])


def _sound_pb(tag: str, sound: Sound) -> summary_pb2.Summary:
    """What `tf.summary.audio` writes of a sound."""
    samples, rate_hz = sound
    encoded = [tf.audio.encode_wav(samples, rate_hz).numpy(), b""]
    metadata = audio_metadata.create_summary_metadata(
        display_name=None, description=None, encoding=audio_metadata.Encoding.Value("WAV"))
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(
        tag=tag, tensor=make_tensor_proto([encoded]), metadata=metadata)])


def _close(writer: tf.summary.SummaryWriter) -> None:
    """Closes an event file. TensorFlow's `close` alone does not tell what could not be written."""
    try:
        writer.flush()
    finally:
        writer.close()


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turns the error of a full disk, or of a folder that vanished, into one line. TensorFlow prints several more."""
    with quiet_stderr(drops=False):
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            raise could_not_be_written(folder / "events.out.tfevents.*", system_error(error)) from error


def _shown(progress: Progress) -> Mapping[str, Callable[[], Picture | Sound]]:
    """The pictures that a step names; else its picture and sounds at the first step, each stage's last, some between.
    """
    if progress.shown is not None:
        return progress.shown
    interval = max(1, progress.total_steps // PICTURES_PER_RUN)
    is_due = progress.step == 1 or progress.step % interval == 0 or progress.ends_stage
    return {"image/0_output": progress.read, **progress.heard} if is_due else {}


def _bounded(picture: Picture | Sound) -> Picture | Sound:
    """The picture, no larger than `LARGEST_SIDE_PX`; a sound as it is."""
    if isinstance(picture, Sound):
        return picture
    height, width = picture.shape[:2]
    if max(height, width) <= LARGEST_SIDE_PX:
        return picture
    return resized_rows(picture, *fit(LARGEST_SIDE_PX, width, height))


def _drop_later_steps(folder: Path, step: int) -> None:
    """Makes TensorBoard forget what an interrupted run wrote after its last checkpoint."""
    now = time.time()
    restart = event_pb2.Event(wall_time=now, step=step + 1,
                              session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
    # TensorBoard reads files in the order of their names, and the writer of this run may begin in the same second: "-"
    # comes before the name of any machine.
    with open(folder / f"events.out.tfevents.{int(now):010d}.-.resume", "ab") as file:
        writer = RecordWriter(file)
        writer.write(event_pb2.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        # Twice: TensorBoard takes the first of a folder for the run's beginning, and forgets nothing.
        for _ in range(2):
            writer.write(restart.SerializeToString())


def _as_markdown(settings: Mapping[str, Any]) -> str:
    return "\n".join(["| flag | value |", "| --- | --- |"] + [
        f"| {name} | {_flat(value)} |" for name, value in settings.items()])


def _flat(value: Any) -> bool | int | float | str:
    """A value for the table of hyper-parameters, which takes no lists, files and unset values: those become strings."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return str(value["file"])
    return "" if value is None else ",".join(str(_flat(item)) for item in value)

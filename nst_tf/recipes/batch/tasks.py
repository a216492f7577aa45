"""The pictures of a batch as tasks: each is an ordinary run of stylize.py. No TensorFlow."""

import csv
import dataclasses
import functools
import glob
import hashlib
import io
import json
import os
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.config import RunConfig, StylizeConfig, check
from nst_tf.flag_values import read_value
from nst_tf.generators.choice import fast_folder
from nst_tf.io import files
from nst_tf.io.picture_folders import PICTURE_SUFFIXES, is_picture, listed
from nst_tf.runs.folder import name_of
from nst_tf.vocabulary import UserError, quoted, unknown

# Flags of the whole batch: a line of a file of jobs may not have them.
_OF_BATCH = ("logdir", "run", "resume", "overwrite", "threads")
_FIELDS = {field.name: field for kind in (StylizeConfig, RunConfig) for field in dataclasses.fields(kind)
           if field.name not in _OF_BATCH}
# What stands for parts of names in --output.
PLACEHOLDERS = ("content", "style")
# A file of jobs is read whole.
_LARGEST_BYTES = 2 ** 28
# Signs of the hash in the name of a run folder.
_HASH_SIGNS = 10


class Task(NamedTuple):
    """One picture to make."""

    config: StylizeConfig
    run_config: RunConfig        # its `run` is "" until the folder is named
    source: str                  # how people find it: a file, or a line of a file of jobs

    @property
    def name(self) -> str:
        """The name of its run folder, the same for the same settings and files."""
        return self.run_config.run or folder_name(self.config)


class Shape(NamedTuple):
    """The flags of a batch that say which pictures there are."""

    jobs: str
    content: str
    style: tuple[str, ...]


def plan_tasks(shape: Shape, config: StylizeConfig, run_config: RunConfig) -> list[Task]:
    """The tasks of a batch: the lines of --jobs, or every photo of --content with every picture of --style.

    Args:
        config, run_config: the flags that hold for every task, without content and style.
    Raises:
        UserError: the flags or a line of the file of jobs are wrong, or two tasks write one file.
    """
    if shape.jobs:
        if shape.content:
            raise UserError("--jobs and --content exclude each other: name the photo in each line of the file of jobs")
        tasks = list(_of_file(shape.jobs, dataclasses.replace(config, style=shape.style), run_config))
    else:
        tasks = [task_of(content, style, config, run_config)
                 for content in _pictures("--content", shape.content) for style in styles_of(shape.style)]
    _check_outputs(tasks)
    return tasks


def task_of(content: str, style: tuple[str, ...], config: StylizeConfig, run_config: RunConfig) -> Task:
    """The task of a photo and its styles."""
    return _task(dataclasses.replace(config, content=content, style=style), run_config, content or ", ".join(style))


def _task(config: StylizeConfig, run_config: RunConfig, source: str) -> Task:
    check(config)
    check(run_config)
    return Task(config, dataclasses.replace(run_config, output=output_of(run_config.output, config)), source)


def _pictures(flag: str, text: str) -> Sequence[str]:
    """The pictures of a folder, of a pattern or a file; one empty text where there is no such flag."""
    if not text:
        return [""]
    if os.path.exists(text) or not glob.has_magic(text):
        return listed(text, flag, is_deep=False).pictures
    found = [path for path in sorted(glob.glob(text, recursive=True)) if is_picture(os.path.basename(path))]
    if not found:
        raise UserError(f"{flag} {quoted(text)} matches no picture ({' '.join(PICTURE_SUFFIXES)}): check the pattern")
    return found


def styles_of(style: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The styles of each task of a photo: every picture of a folder or pattern alone, or all files that are named.

    Raises:
        UserError: a folder or a pattern stands beside other styles.
    """
    def stands_for_several(text: str) -> bool:
        return os.path.isdir(text) or glob.has_magic(text) and not os.path.exists(text)

    if len(style) == 1 and stands_for_several(style[0]):
        return [(path,) for path in _pictures("--style", style[0])]
    several = next(filter(stands_for_several, style), None)
    if several is not None:
        raise UserError(f"--style {quoted(several)} stands for several pictures, each of which makes pictures of its "
                        "own: give it alone, or name the files that are blended")
    return [style]


def output_of(pattern: str, config: StylizeConfig) -> str:
    """`out/{content}_{style}.png` with the names of the files.

    Raises:
        UserError: another placeholder, or a brace that is none.
    """
    names = {"content": Path(config.content).stem, "style": "+".join(Path(path).stem for path in config.style)}
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError:
        raise UserError(f"--output={pattern} has a brace that begins or ends nothing: write "
                        "--output='out/{content}_{style}.png'") from None
    for _, name, spec, conversion in parts:
        if name is not None and (name not in PLACEHOLDERS or spec or conversion):
            raise UserError(f"--output={pattern}: {{{name}}} stands for nothing: give {{content}} or {{style}}")
    return "".join(text + (names[name] if name else "") for text, name, _, _ in parts)


def _check_outputs(tasks: Iterable[Task]) -> None:
    """Raises `UserError` where two tasks would write one file."""
    counts = Counter(os.path.realpath(task.run_config.output) for task in tasks if task.run_config.output)
    if counts and (most := counts.most_common(1)[0])[1] > 1:
        raise UserError(f"--output: {most[1]} pictures would be written to {quoted(most[0])}: put {{content}} and "
                        "{style} into it, or give each line of the file of jobs its own")


def _of_file(path: str, config: StylizeConfig, run_config: RunConfig) -> Iterator[Task]:
    """The tasks of a file of jobs: `.jsonl`, one object a line, or `.csv` with a header. Keys are flags."""
    files.check_readable(path, "--jobs")
    kind = Path(path).suffix.lower()
    readers = {".jsonl": _of_jsonl, ".csv": _of_csv}
    if kind not in readers:
        raise UserError(f"--jobs {quoted(path)} is no file of jobs: give one that ends in .jsonl (an object a line) or "
                        ".csv (with a header)")
    if os.path.getsize(path) > _LARGEST_BYTES:
        raise UserError(f"--jobs {quoted(path)} has more than {_LARGEST_BYTES // 2 ** 20} MB: divide it")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"--jobs {quoted(path)} is no text in UTF-8: save it so") from None
    is_empty = True
    for number, given in readers[kind](text, f"--jobs {quoted(path)}"):
        is_empty, source = False, f"line {number} of {path}"
        try:
            yield _of_line(given, config, run_config, source)
        except UserError as error:
            raise UserError(f"--jobs: {source}: {error}") from None
    if is_empty:
        raise UserError(f"--jobs {quoted(path)} holds no job: give a line for each picture")


def _of_jsonl(text: str, what: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                given = json.loads(line)
            except ValueError as error:
                raise UserError(f"{what}: line {number} is no JSON ({error}): write one object a line") from None
            if not isinstance(given, dict):
                raise UserError(f"{what}: line {number} is no object: write {{\"content\": \"photo.jpg\", ...}}")
            yield number, given


def _of_csv(text: str, what: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    head = text.partition("\n")[0]
    # Spreadsheets of many countries write semicolons.
    delimiter = "," if "," in head else next((sign for sign in ";\t" if sign in head), ",")
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, delimiter=delimiter)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"{what}: the header names {quoted(twice)} twice: leave one of the columns out")
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"{what}: line {reader.line_num} has not as many fields as the header: a list of "
                                'files stands in double quotes, as in "a.jpg,b.jpg"')
            yield reader.line_num, {name.strip(): value for name, value in row.items() if value}
    except csv.Error as error:
        raise UserError(f"{what}: line {reader.line_num} is no CSV ({error})") from None


def _of_line(given: Mapping[str, Any], config: StylizeConfig, run_config: RunConfig, source: str) -> Task:
    """The task of a line: its flags override those of the batch."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        flag = name.lstrip("-")
        if flag in _OF_BATCH:
            raise UserError(f"--{flag} holds for the whole batch: give it on the command line")
        if flag not in _FIELDS:
            raise unknown("flag", flag, _FIELDS)
        if value is not None:
            values[flag] = read_value(value, _FIELDS[flag]) if isinstance(value, str) else value
    of_run = {name: value for name, value in values.items() if hasattr(run_config, name)}
    of_picture = {name: value for name, value in values.items() if name not in of_run}
    return _task(dataclasses.replace(config, **of_picture), dataclasses.replace(run_config, **of_run), source)


def folder_name(config: StylizeConfig) -> str:
    """`<content>_<style>-<hash>`: the hash is of the settings, with files by their bytes."""
    names = [name_of(path) for path in (config.content, *config.style[:2]) if path]
    return f"{'_'.join(filter(None, names))[:80]}-{settings_hash(vars(config))}"


def settings_hash(settings: Mapping[str, Any]) -> str:
    """A hash of settings; what is a file counts by its bytes, wherever it lies."""
    def known(value: Any) -> Any:
        if isinstance(value, tuple):
            return list(map(known, value))
        return _checksum(value) if isinstance(value, str) and os.path.isfile(value) else value

    painters = {"fast": settings.get("fast", ""), "init": fast_folder(settings.get("init", ""))}
    settings = {**settings, **{name: files.sha256_of_folder(folder) for name, folder in painters.items() if folder}}
    text = json.dumps({name: known(value) for name, value in settings.items()}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_SIGNS]


def _checksum(path: str) -> str:
    status = os.stat(path)
    return _checksum_of(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _checksum_of(path: str, mtime_ns: int, size: int) -> str:
    return files.sha256(path)

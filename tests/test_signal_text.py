"""Series in text: what programs and devices write is read, and written again as it was; gaps, times, refusals."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nst_tf.io.signals import Signal, read_signal, write_signal
from nst_tf.vocabulary import UserError

VALUES = [float(value) for value in np.random.default_rng(1).normal(size=300).round(3)]


def lines(line: Callable[[int, str], str], count: int = 300, end: str = "\n") -> str:
    """A line for each of the values, with three digits behind the point."""
    return "".join(line(k, f"{VALUES[k]:.3f}") + end for k in range(count))


def read(tmp_path: Path, text: str, encoding: str = "utf-8", columns: list[str] | None = None) -> Signal:
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    return read_signal(tmp_path / "a.csv", columns)


# Text, sample rate, names, unit; each is written again with the same bytes.
FILES = {
    "numbers alone": (lines(lambda k, x: x), None, None, None),
    "a name": ("ecg\n" + lines(lambda k, x: x), None, ("ecg",), None),
    "times and units": ("time,II (mV),V5 (mV)\n" + lines(lambda k, x: f"{k / 360:.3f},{x},0.{k % 7}"), 360,
                        ("II (mV)", "V5 (mV)"), "mV"),
    "unlike units": ("time,II (mV),p (mmHg)\n" + lines(lambda k, x: f"{k / 360:.4f},{x},{k}"), 360,
                     ("II (mV)", "p (mmHg)"), None),
    "milliseconds": ("t_ms;a\r\n" + lines(lambda k, x: f"{4 * k};{x}", end="\r\n"), 250, ("a",), None),
    "commas in numbers": ("Zeit [s];EKG [mV]\n" + lines(lambda k, x: f"{k / 500:.4f};{x}").replace(".", ","), 500,
                          ("EKG [mV]",), "mV"),
    "times without a name": (lines(lambda k, x: f"{k / 250:.3f}\t{x}"), 250, None, None),
    "times behind": ("ecg,seconds\n" + lines(lambda k, x: f"{x},{k / 200:.3f}"), 200, ("ecg",), None),
    "names behind #": ("# time ecg\n" + lines(lambda k, x: f"{k / 250:.3f} {x}"), 250, ("ecg",), None),
    "an index of pandas": (",0,1\n" + lines(lambda k, x: f"{k},{x},{k % 5}"), None, ("0", "1"), None),
    "two header rows": ("'Elapsed time','MLII','V5'\n'hh:mm:ss.mmm','mV','mV'\n" + lines(
        lambda k, x: f"'0:{k // 60:02d}:{k % 60:02d}.000',{x},0.{k % 7}"), 1, ("MLII", "V5"), "mV"),
    "dates": ("datetime,hr\n" + lines(lambda k, x: f"2016-11-24 13:{k // 60:02d}:{k % 60:02d}.500000,{k * k % 7}"), 1,
              ("hr",), None),
    "lines before the names": ("Device,X3\nStart: 2026-01-01 10:00\ntime,ecg\n" + lines(
        lambda k, x: f"{k / 100:.2f},{x}"), 100, ("ecg",), None),
    "whole seconds": ("time,a\n" + lines(lambda k, x: f"{k // 10},{x}"), 10, ("a",), None),
    "empty cells": ("a,b\n" + lines(lambda k, x: f"{'' if k in (4, 5, 90) else x},{k % 9}"), None, ("a", "b"), None),
    "other gaps": ("a\n" + lines(lambda k, x: "n/a" if k % 50 == 49 else x), None, ("a",), None),
    "lines left out": ("time,a\n" + "".join(f"{k / 100:.2f},{VALUES[k]:.3f}\n" for k in range(300)
                                            if not 20 < k < 31 and k != 7), 100, ("a",), None),
    "uneven times": ("time,a\n0.0,1\n0.1,2\n0.5,3\n0.6,4\n2.0,1\n", 2, ("a",), None),
    "times alone": ("time\n" + lines(lambda k, x: f"{k / 10:.3f}"), None, ("time",), None),
    "integers": ("adc\n1024\n1030\n1019\n1024\n", None, ("adc",), None),
}


@pytest.mark.parametrize("text, rate, names, unit", FILES.values(), ids=FILES)
def test_a_file_is_read_and_written_as_it_was(tmp_path: Path, text: str, rate: float | None,
                                              names: tuple[str, ...] | None, unit: str | None) -> None:
    signal = read(tmp_path, text)
    assert (signal.rate_hz, signal.columns, signal.unit) == (rate, names, unit)
    assert np.isfinite(signal.values).all()
    assert write_signal(tmp_path / "b.csv", signal) == ()
    assert (tmp_path / "b.csv").read_bytes().decode() == text


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig", "utf-16"])
def test_encodings_are_kept(tmp_path: Path, encoding: str) -> None:
    signal = read(tmp_path, "µV\t2\n1\t2\n2\t5\n", encoding)
    assert signal.columns == ("µV", "2")
    write_signal(tmp_path / "b.csv", signal)
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()


def test_gaps_are_bridged_by_lines_and_are_gaps_again(tmp_path: Path) -> None:
    signal = read(tmp_path, "a,b\n1,5\n2,\n,nan\n4,inf\n5,9\n0,9\n")
    np.testing.assert_allclose(signal.values, [[1, 5], [2, 6], [3, 7], [4, 8], [5, 9], [0, 9]])
    assert signal.missing is not None and signal.missing.sum() == 4
    assert signal.remarks[0].endswith("4 of 12 numbers, at most 3 in a row; straight lines bridge them")
    write_signal(tmp_path / "b.csv", dataclasses.replace(signal, values=signal.values + 1), signal)
    assert (tmp_path / "b.csv").read_text() == "a,b\n2,6\n3,\n,\n5,\n6,10\n1,10\n"
    write_signal(tmp_path / "b.npy", signal)
    assert np.isnan(np.load(tmp_path / "b.npy")).sum() == 4


def test_lines_that_are_left_out_are_gaps_in_time(tmp_path: Path) -> None:
    signal = read(tmp_path, "time,a\n" + "".join(f"{k / 100:.2f},{k}\n" for k in range(50) if not 20 < k < 31))
    np.testing.assert_allclose(signal.values[:, 0], np.arange(50), rtol=1e-6)
    assert signal.missing is not None and signal.missing.sum() == 10


def test_columns_are_chosen_by_name_or_number(tmp_path: Path) -> None:
    text = "time,I,II,note\n" + lines(lambda k, x: f"{k / 100},{x},{k},N")
    for columns, names in ((["II", "I"], ("II", "I")), (["3"], ("II",))):
        signal = read(tmp_path, text, columns=columns)
        assert (signal.columns, signal.rate_hz) == (names, 100)
        write_signal(tmp_path / "b.csv", signal)
        assert (tmp_path / "b.csv").read_text().startswith(f"time,{','.join(names)}\n0.0,")
    assert read(tmp_path, text, columns=["time"]).rate_hz is None
    assert read(tmp_path, text).columns == ("I", "II")
    assert read(tmp_path, "who,a\n" + lines(lambda k, x: f"N,{x}")).columns == ("a",)
    assert read(tmp_path, text).remarks[0].endswith("columns of text are left out: note")
    for columns, error in ((["III"], r"no column 'III', did you mean 'II'\? It has: time, I, II, note"),
                           (["9"], "no column '9'"), (["I", "2"], "names a column twice")):
        with pytest.raises(UserError, match=error):
            read(tmp_path, text, columns=columns)


def test_a_result_of_sound_is_plain_numbers(tmp_path: Path) -> None:
    values = np.array([[0.5, -1], [0.1, 1e-7]], np.float32)
    write_signal(tmp_path / "b.csv", Signal(values, 8000.0))
    assert (tmp_path / "b.csv").read_text() == "0.5,-1.0\n0.1,1e-07\n"
    write_signal(tmp_path / "b.tsv", Signal(values, 8000.0))
    assert (tmp_path / "b.tsv").read_text().startswith("0.5\t-1.0\n")


@pytest.mark.parametrize("text, remark", [
    ("timer,a\n" + lines(lambda k, x: f"{8.5 * k},{x}"), "'timer' is taken as seconds, 0.117647 Hz: give --rate"),
    ("a\n5000000.125\n5000000.375\n5000000.25\n", "has large numbers that change little (by 0.102)"),
    ("time,a\n3,1\n2,2\n1,4\n", "'time' does not rise, and tells no sample rate"),
    ("time,a\n0.0,1\n0.1,2\n0.5,3\n0.6,4\n2.0,1\n", "'time' are uneven: taken as even, 2 Hz")])
def test_times_of_which_little_is_sure_are_told(tmp_path: Path, text: str, remark: str) -> None:
    assert remark in read(tmp_path, text).remarks[0]


REFUSED = {
    "text in a column": ("a,b\n1,2\n3,4\n5,x y\n7,8\n", "has 'x y' in line 4, column 'b', which is no number"),
    "chosen text": ("a,label\n1,N\n2,V\n4,N\n", "has 'N' in line 2, column 'label'"),
    "text in the first column": ("1,2\nx,4\n5,6\n", "has 'x' in line 2, column '1'"),
    "a letter": ("Dear all,\nthis is a letter.\nYours\n", "holds no numbers (its line 3 is 'Yours')"),
    "names alone": ("a,b,c\n", "holds no numbers"),
    "blank lines": ("\n\n", "holds no numbers, only blank lines"),
    "a longer line": ("a,b\n1,2\n3,4\n5,6,7\n8,9\n", "has 3 columns in line 4 and 2 elsewhere"),
    "an empty column": ("a,b\n1,\n3,\n5,\n", "numbers in only 0% of column 'b': at least half must be there"),
    "one number": ("3.4\n", "holds one sample"),
    "a constant": ("a\n2\n2\n2\n", "is constant (every sample is 2)"),
    "a large number": ("a\n2\n1e300\n2\n", "has numbers such as 1e+300"),
    "zeros in text": ("a\n1\n2\0\n3\n", "is no signal"),
}


@pytest.mark.parametrize("text, error", REFUSED.values(), ids=REFUSED)
def test_what_is_no_series_is_refused_in_one_line(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(UserError) as raised:
        read(tmp_path, text, columns=["label"] if "label" in text else None)
    assert error in str(raised.value) and "\n" not in str(raised.value)

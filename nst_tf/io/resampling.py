"""Signals at another sample rate, and styles with the channels of their content; by scipy, of the extra `signals`."""

import dataclasses
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nst_tf.io import sound
from nst_tf.io.signals import MAX_VALUES, Signal
from nst_tf.vocabulary import UserError

# Rates that differ by less are the same: it is less than a cent.
_SAME_RATE = 5e-4


def resampled(signal: Signal, rate_hz: float, length: int | None = None) -> Signal:
    """The signal at another sample rate, by a polyphase filter (`scipy.signal.resample_poly`).

    Args:
        length: the samples of the result, the last one repeated where there are fewer.
    Raises:
        UserError: the file tells no rate; scipy is not installed; the result would be too long.
    """
    if signal.rate_hz is None:
        raise UserError("a signal of unknown sample rate cannot be resampled: give --rate")
    values = signal.values
    if rate_hz != signal.rate_hz:
        values = _polyphase(values, Fraction(rate_hz / signal.rate_hz).limit_denominator(10_000))
    if length is not None and len(values) != length:
        values = np.concatenate([values[:length], np.repeat(values[-1:], max(0, length - len(values)), 0)])
    return dataclasses.replace(signal, values=values, rate_hz=float(rate_hz), missing=None, remarks=())


def _polyphase(values: NDArray[np.float32], ratio: Fraction) -> NDArray[np.float32]:
    if not ratio or len(values) * values.shape[1] * ratio > MAX_VALUES:
        raise UserError(f"sample rates whose ratio is {float(ratio):g} are too far apart for {len(values):,} samples: "
                        "choose nearer ones")
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise UserError(f"different sample rates: {sound.EXTRA} brings what resamples (scipy), or give signals of one "
                        "rate") from None
    # The line from the first sample to the last is taken out before: at the ends the level stays.
    columns = [resample_poly(values[:, channel], ratio.numerator, ratio.denominator, padtype="line")
               for channel in range(values.shape[1])]
    return np.stack(columns, 1).astype(np.float32, copy=False)


def fitted(style: Signal, content: Signal, what: str) -> Signal:
    """A style at the sample rate and with the channels of the content; its remarks tell what was changed.

    Args:
        what: how remarks and errors call the style.
    Raises:
        UserError: see `resampled`; or the channels do not correspond.
    """
    style, rates = _with_channels(style, content, what), (style.rate_hz, content.rate_hz)
    remarks = style.remarks
    if rates[0] is None or rates[1] is None:
        if rates != (None, None):
            silent = "it" if rates[0] is None else "the content"
            remarks += (f"{what}: {silent} tells no sample rate; both are taken as equal",)
        return dataclasses.replace(style, rate_hz=rates[1], remarks=remarks)
    if abs(rates[0] / rates[1] - 1) > _SAME_RATE:
        style = resampled(style, rates[1])
        remarks += (f"{what} is resampled from {rates[0]:g} Hz to the {rates[1]:g} Hz of the content",)
    return dataclasses.replace(style, rate_hz=rates[1], remarks=remarks)


def _with_channels(style: Signal, content: Signal, what: str) -> Signal:
    """One channel stands for all; those of sound are averaged; columns correspond by name, or by order."""
    have, wanted, remarks = style.values.shape[1], content.values.shape[1], style.remarks
    if style.columns and content.columns and set(content.columns) <= set(style.columns):
        values = style.values[:, [style.columns.index(name) for name in content.columns]]
    elif have == wanted:
        return style
    elif have == 1:
        values = np.repeat(style.values, wanted, 1)
    elif style.is_sound:
        values = np.repeat(style.values.mean(1, keepdims=True), wanted, 1)
        remarks += (f"{what}: its {have} channels are averaged",)
    else:
        raise UserError(f"{what} has {have} channels and the content {wanted}: give a style of one channel or of as "
                        "many, or choose columns of the content (--columns)")
    return dataclasses.replace(style, values=values, columns=content.columns, missing=None, remarks=remarks)

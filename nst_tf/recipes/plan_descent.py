"""The part of a plan that says how J is brought down: step sizes, and what is done to gradients. No TensorFlow."""

from typing import NamedTuple

from nst_tf.backbones.table import find_backbone
from nst_tf.config import StylizeConfig
from nst_tf.vocabulary import UserError

# {(optimizer, canvas): --learning_rate}; benchmarks/parameterizations.py has the others that were tried.
LEARNING_RATES: dict[tuple[str, str], float] = {
    ("adam", "pixels"): 0.05, ("adam", "fourier"): 0.05, ("lbfgs", "pixels"): 0.03, ("lbfgs", "fourier"): 0.03}
GRADIENT_SMOOTHING = 0.7


class Descent(NamedTuple):
    """The settings of the optimization, all filled in."""

    learning_rate: float
    schedule: str
    gradient_smoothing: float
    jitter_px: int


def plan_descent(config: StylizeConfig) -> Descent:
    """What was left out, filled in as the optimizer and the canvas need it.

    Raises:
        UserError: a setting was given that they cannot obey.
    """
    is_lbfgs, is_pixels = config.optimizer == "lbfgs", config.canvas == "pixels"
    if is_lbfgs:
        _check_lbfgs(config)
    if config.gradient_smoothing and not is_pixels:
        raise UserError(f"--gradient_smoothing={config.gradient_smoothing} is for pixels: --canvas={config.canvas} "
                        "weighs frequencies itself; leave it out or give --canvas=pixels")
    rate, smoothing, jitter_px = config.learning_rate, config.gradient_smoothing, config.jitter
    if smoothing is None:
        smoothing = GRADIENT_SMOOTHING if is_pixels and not is_lbfgs else 0.0
    if jitter_px is None:
        jitter_px = 0 if is_lbfgs else find_backbone(config.backbone).jitter_px
    return Descent(LEARNING_RATES[config.optimizer, config.canvas] if rate is None else rate,
                   config.schedule or ("constant" if is_lbfgs else "cosine"), smoothing, jitter_px)


def _check_lbfgs(config: StylizeConfig) -> None:
    """Raises `UserError` for what would make another function of J from step to step, or another vector of ∇J."""
    if config.gradient_smoothing:
        raise UserError(f"--gradient_smoothing={config.gradient_smoothing} is for --optimizer=adam: lbfgs needs the "
                        "gradient itself; leave it out")
    if config.jitter:
        raise UserError(f"--jitter={config.jitter} is for --optimizer=adam: lbfgs compares values of J from step to "
                        "step, and a moved image is another J; leave it out")
    if config.schedule not in ("", "constant"):
        raise UserError(f"--schedule={config.schedule} is for --optimizer=adam: lbfgs searches its step lengths, and "
                        "--learning_rate is that of the first step; leave it out")

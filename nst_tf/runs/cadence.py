"""When a consumer of `Progress` acts. Time comes in as a function, so that tests need not sleep."""

from collections.abc import Callable

from nst_tf.runs.progress import Progress


def is_logged(progress: Progress, log_every: int) -> bool:
    """Every `log_every` steps, and the first and last step of each stage."""
    return progress.step % log_every == 0 or progress.stage_step == 1 or progress.ends_stage


def every_seconds(interval_seconds: float, now: Callable[[], float]) -> Callable[[], bool]:
    """Returns a function that answers yes once in each interval. The first interval begins now."""
    last = now()

    def is_due() -> bool:
        nonlocal last
        time = now()
        if time - last < interval_seconds:
            return False
        last = time
        return True

    return is_due

"""Keras with the settings that a picture depends on, whatever the user's are; the user's come back afterwards."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from nst_tf.vocabulary import UserError

# Keras reads these when it is imported. NNX is of JAX alone.
_VARIABLES = {"KERAS_BACKEND": "tensorflow", "KERAS_NNX_ENABLED": "0"}
# One thread at a time changes the environment and puts it back.
_ENVIRONMENT = threading.RLock()
Event = TypeVar("Event")


def import_keras() -> tuple[Any, Any]:
    """Imports TensorFlow, and Keras on top of it; returns both modules. The environment stays the user's.

    Raises:
        UserError: Keras runs on something else already, or refuses its keras.json; or no folder takes temporary files.
    """
    try:
        # Not as a difference of sets, which walks through all modules: this is called before each step.
        with contextlib.nullcontext() if {"tensorflow", "keras"} <= sys.modules.keys() else _variables():
            import tensorflow as tf  # this imports parts of Keras
            import keras
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in ("tensorflow", "keras"):
            raise
        remedy = ("correct or remove keras.json in ~/.keras or $KERAS_HOME, and set KERAS_BACKEND=tensorflow before "
                  "Python starts")
        if isinstance(error, FileNotFoundError):
            remedy = "TensorFlow needs a folder for temporary files, set TMPDIR to one"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"Keras cannot be imported ({reason}): {remedy}") from error
    if keras.config.backend() != "tensorflow":
        raise UserError(f"Keras runs on {keras.config.backend()} in this Python session: set KERAS_BACKEND=tensorflow "
                        "before Keras is imported")
    return tf, keras


@contextlib.contextmanager
def _variables() -> Iterator[None]:
    variables = dict(_VARIABLES)
    if not os.path.isabs(os.path.expanduser("~")):
        # A user without a home. TensorFlow would make a folder named "~" here; Keras 3 takes /tmp.
        variables["HOME"] = "/tmp"
    with _ENVIRONMENT:
        users = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in users.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


class _SharedSettings:
    """The settings of all threads: the defaults while any thread is inside, the user's after the last has left."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._users: list[tuple[Callable[[Any], None], Any]] = []

    def enter(self, tf: Any, keras: Any) -> None:
        """Sets the defaults, if no other thread has."""
        config = keras.config
        settings = ((config.floatx, config.set_floatx, "float32"), (config.epsilon, config.set_epsilon, 1e-7),
                    (config.image_data_format, config.set_image_data_format, "channels_last"),
                    (tf.config.functions_run_eagerly, tf.config.run_functions_eagerly, False))
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._users = [(change, setting()) for setting, change, _ in settings]
                for _, change, default in settings:
                    change(default)

    def leave(self) -> None:
        """Sets what the user had, if no other thread is inside."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for change, value in self._users:
                    change(value)


_SHARED = _SharedSettings()


@contextlib.contextmanager
def keras_defaults() -> Iterator[None]:
    """Within the block Keras has its own defaults, and TensorFlow compiles its functions.

    Raises:
        UserError: see `import_keras`.
    """
    tf, keras = import_keras()
    # Each thread has its own policy. Keras' public function would make one where the user has set none.
    from keras.src.backend.common import global_state

    policy = global_state.get_global_attribute("dtype_policy")
    _SHARED.enter(tf, keras)
    try:
        keras.config.set_dtype_policy("float32")
        yield
    finally:
        global_state.set_global_attribute("dtype_policy", policy)
        _SHARED.leave()


def with_keras_defaults(events: Iterator[Event]) -> Iterator[Event]:
    """The events, each made with Keras' defaults. Between them the user's settings hold."""
    try:
        while True:
            with keras_defaults():
                try:
                    event = next(events)
                except StopIteration:
                    return
            yield event
    finally:
        getattr(events, "close", lambda: None)()

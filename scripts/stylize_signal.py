"""The style of signals, such as sound and EKG: `nst-signal` in a checkout."""

import sys

try:
    from nst_tf.commands import signal
except ModuleNotFoundError as error:
    print(f"stylize_signal.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    signal()

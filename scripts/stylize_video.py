"""Stylizes a clip, frame after frame: `nst-video` in a checkout."""

import sys

try:
    from nst_tf.commands import video
except ModuleNotFoundError as error:
    print(f"stylize_video.py: {error}: run 'pip install -e .' in the project's folder, or use its .venv",
          file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    video()

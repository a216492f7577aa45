"""Presets: flag files that `--flagfile=NAME` finds by name. The first line of each says what it is."""

from pathlib import Path

PRESETS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.flags"))}

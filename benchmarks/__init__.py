"""Measurements, each run by `python -m benchmarks.NAME` in the project's folder.

What the docs say of speed and quality stands at the top of one of them.
"""

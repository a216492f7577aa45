"""Measurements, each a script; what the docs say of speed and quality stands at the top of one of them."""

import nst_tf  # noqa: F401  Before TensorFlow, for which it switches on what scripts/ have too.

import os

# Before NumPy, as `nst_tf.flags` does: its BLAS threads spin while they wait, beside the test of another process.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

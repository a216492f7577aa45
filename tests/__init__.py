import os

# Before NumPy, as `nst_tf.flags` does: its BLAS threads spin while they wait, beside the test of another process.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The bits and tolerances that the tests expect are those of the CPU's kernels: a GPU multiplies in TensorFloat-32 and
# adds in any order. Processes of tests would also share its memory.
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

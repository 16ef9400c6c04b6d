"""TensorFlow and Keras, set up once. Import them from here, never directly.

Inference must give the same bits on every run: a worker that was killed and started again writes the
same codes. Hence deterministic kernels, full float32 products, and one batch shape (:class:`FixedBatch`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats, float_matrix

# These must be set before the import. Start-up notes are hidden, such as the one that there is no GPU; what
# really fails is raised as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# oneDNN sums in an order that depends on the processor, and is no faster for networks of this size.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf

__all__ = ["BATCH", "FixedBatch", "compiled", "keras", "tf"]

# Rows of the one compiled shape. Larger batches are cut, smaller ones padded.
BATCH: Final = 256
_FEWEST: Final = 8
# Batches in a call: more would take memory and save nothing.
_BATCHES: Final = 16
# Values in a batch.
_LARGEST_BATCH: Final = 1 << 21

# Without growth TensorFlow takes the whole GPU and leaves nothing to FAISS in the same process.
for _gpu in tf.config.list_physical_devices("GPU"):
    tf.config.experimental.set_memory_growth(_gpu, True)
tf.config.experimental.enable_op_determinism()
tf.config.experimental.enable_tensor_float_32_execution(False)


def compiled(*shapes: tuple[int | None, ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function of float32 arrays of these ``shapes`` (None: any size), at once and only once.

    Once, so that the first real call is not the slow one and no call meets another kernel.
    """

    def compile_for_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
        concrete = tf.function(function, input_signature=signature, autograph=False).get_concrete_function()

        def call(*arrays: Floats | np.float32) -> Any:
            return concrete(*(tf.convert_to_tensor(array, tf.float32) for array in arrays))

        return call

    return compile_for_shapes


class FixedBatch:
    """A function of rows, such as a Keras model, compiled for one batch shape only.

    A new shape would be traced and compiled anew, and might use another kernel, which changes the last
    bits. With one shape a row's result depends neither on its company nor on its place in the batch.
    Many batches are one call of TensorFlow: Python's lock is waited for once, however many threads want it.

    Args:
        function: of float32 ``[batch, width]`` for each of ``widths``; returns ``[batch, outputs]``.
        widths: values of a row in each argument.
        dtype: of what it returns, as TensorFlow calls it.
    """

    def __init__(self, function: Callable[..., Any], *widths: int, dtype: Any = tf.float32) -> None:
        self._widths = widths
        # Of large images fewer at a time, since a convolution needs many times their size.
        self.rows = max(_FEWEST, min(BATCH, _LARGEST_BATCH // max(widths)))

        @compiled(*((None, self.rows, width) for width in widths))
        def run(*batches: Any) -> Any:
            return tf.map_fn(lambda batch: function(*batch), batches, parallel_iterations=1, fn_output_signature=dtype)

        self._run = run
        first = run(*(np.zeros((1, self.rows, width), np.float32) for width in widths)).numpy()
        self._outputs: int = first.shape[2]
        self._dtype = first.dtype

    def __call__(self, *arrays: Floats) -> NDArray[Any]:
        """Return the function of each row, ``[n, outputs]``, for float32 ``[n, width]`` each."""
        checked = [float_matrix(rows, width, "model input") for rows, width in zip(arrays, self._widths, strict=True)]
        count = len(checked[0])
        result = np.empty((count, self._outputs), self._dtype)
        together = _BATCHES * self.rows
        for start in range(0, count, together):
            batches = (self._batches(rows[start : start + together]) for rows in checked)
            found = self._run(*batches).numpy().reshape(-1, self._outputs)
            result[start : start + together] = found[: count - start]
        return result

    def _batches(self, rows: Floats) -> Floats:
        """Return ``rows`` as whole batches, filled up with zeros."""
        missing = -len(rows) % self.rows
        if missing:
            rows = np.concatenate([rows, np.zeros((missing, rows.shape[1]), np.float32)])
        return rows.reshape(-1, self.rows, rows.shape[1])

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

    Args:
        function: of float32 ``[batch, width]``; returns ``[batch, outputs]`` of any type.
        width: values of a row.
    """

    def __init__(self, function: Callable[[Any], Any], width: int) -> None:
        self._width = width
        # Of large images fewer at a time, since a convolution needs many times their size.
        self.rows = max(_FEWEST, min(BATCH, _LARGEST_BATCH // width))

        @compiled((self.rows, width))
        def run(batch: Any) -> Any:
            return function(batch)

        self._run = run
        first = run(np.zeros((self.rows, width), np.float32)).numpy()
        self._outputs: int = first.shape[1]
        self._dtype = first.dtype

    def __call__(self, rows: Floats) -> NDArray[Any]:
        """Return the function of each row, ``[n, outputs]``, for float32 ``[n, width]``."""
        rows = float_matrix(rows, self._width, "model input")
        result = np.empty((len(rows), self._outputs), self._dtype)
        padded = np.zeros((self.rows, self._width), np.float32)
        for start in range(0, len(rows), self.rows):
            chunk = rows[start : start + self.rows]
            if len(chunk) < self.rows:
                padded[: len(chunk)] = chunk
                padded[len(chunk) :] = 0
                result[start:] = self._run(padded).numpy()[: len(chunk)]
            else:
                result[start : start + self.rows] = self._run(chunk).numpy()
        return result

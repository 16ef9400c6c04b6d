"""The nearest codewords, on the device that TensorFlow has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from models.arrays import Floats
from models.runtime import FixedBatch, tf

# Partial sums that a search for residual codes keeps.
BEAM: Final = 16


def product_search(centroids: Floats) -> FixedBatch:
    """Return what maps float32 ``[n, pieces * width]`` to the nearest of ``[pieces, words, width]``, uint8."""
    pieces, _, width = centroids.shape
    squares = np.sum(centroids.astype(np.float64) ** 2, axis=2).astype(np.float32)

    def nearest(padded: Any) -> Any:
        rows = tf.transpose(tf.reshape(padded, (-1, pieces, width)), (1, 0, 2))
        # |z - c|² without |z|², which is the same for all centroids.
        distances = squares[:, None, :] - 2 * tf.matmul(rows, centroids, transpose_b=True)
        return tf.cast(tf.transpose(tf.argmin(distances, axis=2)), tf.uint8)

    return FixedBatch(nearest, pieces * width, dtype=tf.uint8)


def residual_search(codebooks: Floats) -> FixedBatch:
    """Return what maps float32 ``[n, d]`` to codes uint8 ``[n, books]``, see :func:`beam_search`."""
    return FixedBatch(
        lambda rows: tf.cast(beam_search(rows, codebooks, BEAM)[:, 0], tf.uint8), codebooks.shape[2], dtype=tf.uint8
    )


def beam_search(rows: Any, codebooks: Any, beam: int) -> Any:
    """Return codes int32 ``[batch, beam, books]`` of float32 ``[batch, d]``, for codebooks ``[books, words, d]``.

    Of the sums of codewords chosen so far the ``beam`` nearest go on; the nearest is first.
    """
    books, words, width = codebooks.shape
    squares = tf.reduce_sum(tf.square(codebooks), axis=2)
    residuals, codes = rows[:, None, :], None
    for book in range(books):
        # |r - c|² = |r|² - 2 r·c + |c|²
        products = tf.matmul(tf.reshape(residuals, (-1, width)), codebooks[book], transpose_b=True)
        kept = residuals.shape[1]
        products = tf.reshape(products, (-1, kept, words))
        left = tf.reduce_sum(tf.square(residuals), axis=2, keepdims=True)
        distances = tf.reshape(left - 2 * products + squares[book], (-1, kept * words))
        best = tf.math.top_k(-distances, min(beam, kept * words)).indices
        parent, word = best // words, best % words
        residuals = tf.gather(residuals, parent, batch_dims=1) - tf.gather(codebooks[book], word)
        codes = (
            word[:, :, None]
            if codes is None
            else tf.concat([tf.gather(codes, parent, batch_dims=1), word[:, :, None]], axis=2)
        )
    return codes


def codewords(codes: Any, codebooks: Any) -> Any:
    """Return the sums of codewords, ``[..., d]``, of codes int32 ``[..., books]``."""
    books, words, width = codebooks.shape
    flat = tf.reshape(codebooks, (books * words, width))
    return tf.reduce_sum(tf.gather(flat, codes + words * tf.range(books)), axis=-2)


def decoded_search(
    codebooks: Floats, candidates: int, encoder: Any, loss: Callable[[Any, Any], Any], width: int
) -> FixedBatch:
    """Return what maps rows float32 ``[n, width]`` to the codes, uint8 ``[n, books]``, that decode best.

    The nearest sum of codewords is not always the one that decodes to the nearest row: of those that the
    search ends with, the first ``candidates`` are decoded and compared. The search keeps twice as many.

    Args:
        codebooks: ``[books, words, d]``.
        candidates: codes compared.
        encoder: maps ``[n, width]`` to latents ``[n, d]``.
        loss: of latents ``[m, d]`` and the rows ``[m, width]`` that they should decode to, ``[m]``.
        width: values of a row.
    """
    books = len(codebooks)

    def search(rows: Any) -> Any:
        codes = beam_search(encoder(rows), codebooks, max(BEAM, 2 * candidates))[:, :candidates]
        latents = codewords(tf.reshape(codes, (-1, books)), codebooks)
        losses = tf.reshape(loss(latents, tf.repeat(rows, candidates, axis=0)), (-1, candidates))
        return tf.cast(tf.gather(codes, tf.argmin(losses, axis=1), batch_dims=1), tf.uint8)

    return FixedBatch(search, width, dtype=tf.uint8)

"""Arrays in, arrays out: autoencoders, codecs, the latent index, training and the registry of bundles.

This room imports ``schemas`` and neither Kafka, Redis nor a clock. Importing it does not import
TensorFlow; only the modules that build or run a network do (through :mod:`models.runtime`).
"""

import os

# FAISS' threads would spin while they wait, and take the processors from Redis and from each other: beside other load
# a batch of 16 queries then took three times as long. It must be set before FAISS is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

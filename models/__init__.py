"""Arrays in, arrays out: autoencoders, codecs, the latent index, training and the registry of bundles.

This room imports ``schemas`` and neither Kafka, Redis nor a clock. Importing it does not import
TensorFlow; only the modules that build or run a network do (through :mod:`models.runtime`).
"""

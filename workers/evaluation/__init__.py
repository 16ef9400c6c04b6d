"""Each use of an autoencoder, measured against its baseline in the same run."""

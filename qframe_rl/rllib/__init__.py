"""What RLlib needs to train on native batches, and what acts afterwards without it."""

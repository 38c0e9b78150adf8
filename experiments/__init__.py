"""The doors: ``python -m experiments.train`` and its siblings."""

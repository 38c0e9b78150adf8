"""The catalogue of markets: one file per task, each with ``Config`` and ``make``."""

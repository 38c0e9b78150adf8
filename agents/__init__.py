"""The catalogue of strategies: one file each, with ``Config`` and ``make``."""

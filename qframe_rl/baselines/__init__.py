"""Yardsticks that every run is measured by: cash, holding, chance, and the optimum where one is known."""

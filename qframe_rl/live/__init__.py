"""Sessions on bars that come as time passes: what an operator runs."""

"""Where bars come from: a store, CSV files, an exchange, a generator."""

"""Where orders and a bar become fills: the one place that settles money."""

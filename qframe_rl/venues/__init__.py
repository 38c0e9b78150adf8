"""Where orders become fills."""

"""What stands between a decision and a venue: limits on orders, and states that end trading before the money does."""

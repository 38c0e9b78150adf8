"""Mathematics that agents share: estimates from returns and prices, and weights made of them."""

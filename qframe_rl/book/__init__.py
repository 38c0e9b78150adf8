"""Order books: how messages become fills by price and time, in whole ticks and lots."""

"""Train, evaluate, choose, checkpoint, paper-trade."""

"""What the deep agents share: differentiable books, sequence networks, a training loop. Importing it needs torch."""

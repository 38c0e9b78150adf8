"""What Stable-Baselines3 needs to train on native batches. Importing any of its modules imports torch."""

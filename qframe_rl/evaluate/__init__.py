"""The truth about performance: splits, metrics, inference, pictures."""

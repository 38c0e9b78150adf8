"""What can be told from luck: intervals, corrections for many trials, and overfitting."""

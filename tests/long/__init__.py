"""What takes too long for every change: commands of `make long`."""

"""The pure kernel: kinds, metrics, districts, reading batches, checks. No I/O beyond reading a city file."""

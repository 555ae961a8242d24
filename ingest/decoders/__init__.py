"""Other firmware's formats: bytes to readings, as the format says them; a profile then maps them to metrics."""

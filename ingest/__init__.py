"""MQTT in, decode, check, batch, COPY, acknowledge; what can't be stored becomes a dead letter."""

"""A simulated city that speaks only the wire: MQTT, with encoders written apart from ingest's decoders."""

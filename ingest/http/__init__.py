"""Telemetry over HTTP, for devices that can't do MQTT: answered once it is committed."""

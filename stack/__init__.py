"""The local servers: finds or provisions TimescaleDB and Mosquitto, starts them, waits, stops them."""

"""What we ask of Mosquitto: its configuration, its accounts, and who may do what."""

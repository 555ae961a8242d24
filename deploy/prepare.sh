#!/bin/sh
# What has to be there before the services start. Repeating it changes nothing that is right already.
set -eu

alatau pki server --name broker
# Who else runs here reads the authority's certificate, and not its key.
install -m 644 "$ALATAU_DATA_DIR/pki/ca.pem" "$ALATAU_MQTT_CA"
alatau migrate
alatau catalog apply
alatau device add --simulated "$SIMULATED_DEVICES"
alatau broker-files /broker --seen-as /mosquitto/data

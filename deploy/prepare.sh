#!/bin/sh
# What has to be there before the services start. Repeating it changes nothing that is right already.
set -eu

alatau migrate
alatau catalog apply
alatau device add --simulated "$SIMULATED_DEVICES"
alatau broker-files /broker --seen-as /mosquitto/data

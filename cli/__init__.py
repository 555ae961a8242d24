"""The ``alatau`` command: reads the environment once and puts the parts together."""

"""``python -m cli`` is the ``alatau`` command."""

from cli.main import main

main()

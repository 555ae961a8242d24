"""What the tests of deployment share with those of the command line."""

from tests.cli.conftest import bare

__all__ = ["bare"]

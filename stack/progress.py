"""How long steps tell their caller where they are."""

from collections.abc import Callable

Report = Callable[[str, float | None], None]
"""Called with the text of the step and the part done, 0..1, or None where that is not known."""


def silent(_step: str, _fraction: float | None) -> None:
    """Report nothing."""

from __future__ import annotations

import pytest

from cli.charts import sparkline


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], 20, "▁▂▃▄▅▆▇█"),
        ([8, None, 1], 20, "█ ▁"),
        ([5, 5, 5], 20, "▅▅▅"),
        ([], 20, ""),
        ([None, None], 20, "  "),
        ([0, 0, 10, 10, 0, 0], 3, "▁█▁"),
        ([0, None, None, 10], 2, "▁█"),
        ([-3.5, -7.0], 20, "█▁"),
    ],
)
def test_a_line_goes_from_the_lowest_to_the_highest(
    values: list[float | None], width: int, drawn: str
) -> None:
    assert sparkline(values, width) == drawn


@pytest.mark.parametrize("count", [1, 7, 60, 61, 1000])
def test_no_line_is_wider_than_asked_and_none_is_shorter_than_its_values(count: int) -> None:
    assert len(sparkline([float(n) for n in range(count)], 60)) == min(count, 60)

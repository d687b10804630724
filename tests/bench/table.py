"""Pairs of measurements, and the table that is printed of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

COLUMNS = "{:<18} {:>9} {:>9} {:>7} {:>14} {:>6} {:>6}"


@dataclass
class Comparison:
    """Seconds of ours and of the other's, pair by pair."""

    what: str
    aim: float | None
    ours: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def pair(self, ours: Callable[[], float], other: Callable[[], float]) -> None:
        """Both, one after the other; who is first changes from pair to pair."""
        if len(self.ours) % 2:
            self.others.append(other())
            self.ours.append(ours())
        else:
            self.ours.append(ours())
            self.others.append(other())

    def row(self) -> str:
        ratios = sorted(mine / theirs for mine, theirs in zip(self.ours, self.others, strict=True))
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        times = [f"{median(self.ours):.3f} s", f"{median(self.others):.3f} s"]
        aim = "" if self.aim is None else f"<= {self.aim:g}"
        return COLUMNS.format(self.what, *times, f"{median(ratios):.2f}", spread, aim, len(ratios))


def show(comparisons: list[Comparison], ours: str, other: str) -> None:
    """The table; each time is a median, the ratio is the median of the pairs' ratios."""
    print(COLUMNS.format("", ours, other, "ratio", "from to", "aim", "pairs"))
    for comparison in comparisons:
        print(comparison.row())

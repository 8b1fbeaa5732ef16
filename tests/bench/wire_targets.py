"""What the wire has to reach: each measure with the value it must and the value it would like to have."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Verdict", "summary"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One measured target.

    value: what was measured, in ``unit``, where less is better. must, stretch: the most it may be, and the most it
    should be (None: there is none). note: what limits it, if that is known.
    """

    name: str
    what: str
    value: float
    unit: str
    must: float
    stretch: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the must value is kept."""
        return self.value <= self.must

    def __str__(self) -> str:
        if not self.holds:
            word = "MISSED"
        elif self.stretch is not None and self.value <= self.stretch:
            word = "stretch"
        else:
            word = "must"
        most = f"must <= {self.must:g}" + ("" if self.stretch is None else f", stretch <= {self.stretch:g}")
        note = f"   ({self.note})" if self.note else ""
        return f"{self.name:<4} {word:<8} {self.value:>9.2f} {self.unit:<3} {self.what:<62} {most} {self.unit}{note}"


def summary(verdicts: list[Verdict]) -> str:
    """How many hold, in a line."""
    missed = [verdict.name for verdict in verdicts if not verdict.holds]
    stretch = [v.name for v in verdicts if v.stretch is not None and v.value <= v.stretch]
    return (
        f"{len(verdicts) - len(missed)} of {len(verdicts)} hold"
        + (f", missed: {', '.join(missed)}" if missed else "")
        + (f"; at their stretch value: {', '.join(stretch)}" if stretch else "")
    )

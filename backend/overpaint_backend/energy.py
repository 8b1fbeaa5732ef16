"""What the machine's own meters say of energy: graphics cards by NVML, processors by Linux's powercap (Intel's RAPL).

Neither may be there: NVML needs the package ``nvidia-ml-py`` and NVIDIA's driver, and most distributions let only root read
powercap. Then nothing is said, rather than guessed. The meters count for all programs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from overpaint_protocol.messages import EnergyReport

__all__ = ["EnergyMeter", "Nvml", "PowerCap", "Source", "installed_sources"]

_POWERCAP = Path("/sys/class/powercap")


class Source(Protocol):
    """A meter."""

    name: str

    def joules(self) -> float | None:
        """Used since some moment that stays the same; None if it cannot be read."""
        ...


class PowerCap:
    """The processors' packages in Linux's powercap; each counter begins again at zero beyond its range.

    Args:
        folder: where the zones are.
    """

    name = "rapl"

    def __init__(self, folder: Path = _POWERCAP) -> None:
        # A package is intel-rapl:0; intel-rapl:0:1 is a part of it, and counted with it.
        self._zones = sorted(path for path in folder.glob("intel-rapl:*") if path.name.count(":") == 1)
        self._last: dict[Path, int] = {}
        self._joules = 0.0

    def joules(self) -> float | None:
        """Since the first call; right if it is called more often than a counter goes round, about once in an hour."""
        if not self._zones:
            return None
        try:
            for zone in self._zones:
                now = _number(zone / "energy_uj")
                last = self._last.get(zone, now)
                went_round = _number(zone / "max_energy_range_uj") if now < last else 0
                self._last[zone] = now
                self._joules += (now - last + went_round) / 1e6
        except (OSError, ValueError):
            return None
        return self._joules


class Nvml:
    """NVIDIA's graphics cards, all together; those that do not count energy (older than Volta) are left out.

    Args:
        library: the module ``pynvml``, ready to be initialized.
    """

    name = "nvml"

    def __init__(self, library: Any) -> None:
        self._library = library
        library.nvmlInit()
        self._cards = [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]

    def joules(self) -> float | None:
        """Since the driver was loaded."""
        counted: list[int] = []
        for card in self._cards:
            with contextlib.suppress(self._library.NVMLError):
                counted.append(self._library.nvmlDeviceGetTotalEnergyConsumption(card))
        return sum(counted) / 1000 if counted else None


class EnergyMeter:
    """All sources that can be read, from now on.

    Args:
        sources: the meters. now: in seconds, the time of all calls.
    """

    def __init__(self, sources: list[Source], now: float) -> None:
        self._sources = [
            (source, joules, _Reading(joules, now))
            for source in sources
            if (joules := source.joules()) is not None
        ]

    def report(self, now: float) -> tuple[EnergyReport, ...]:
        """What was used since the start, and the mean power since the report before."""
        reports: list[EnergyReport] = []
        for source, begun_with, last in self._sources:
            joules = source.joules()
            if joules is not None:
                reports.append(
                    EnergyReport(
                        source=source.name, joules=joules - begun_with, watts=last.watts_until(joules, now)
                    )
                )
        return tuple(reports)


class _Reading:
    """The last reading of a meter."""

    def __init__(self, joules: float, now: float) -> None:
        self._joules, self._at = joules, now

    def watts_until(self, joules: float, now: float) -> float | None:
        """Mean power from the last reading to this one, which takes its place."""
        used, took_s = joules - self._joules, now - self._at
        self._joules, self._at = joules, now
        return used / took_s if took_s > 0 else None


def installed_sources(load: Callable[[], Any] | None = None) -> list[Source]:
    """The sources of this machine. load: imports ``pynvml``."""
    sources: list[Source] = [PowerCap()]
    try:
        sources.append(Nvml((load or _pynvml)()))
    except ImportError:
        pass
    except Exception:  # noqa: S110 - its NVMLError: no driver, no card, no permission; as if it was not installed
        pass
    return sources


def _pynvml() -> Any:
    import pynvml  # pyright: ignore[reportMissingImports] - from nvidia-ml-py, which may be missing

    return pynvml


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))

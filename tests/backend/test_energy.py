"""Energy meters, with counters made for the test."""

from __future__ import annotations

import pytest

from overpaint_backend.energy import EnergyMeter, Nvml, PowerCap, installed_sources


def zone(folder, name, energy_uj, range_uj=1_000_000):
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{range_uj}\n")


def test_powercap_adds_packages_leaves_out_their_parts_and_goes_round(tmp_path):
    zone(tmp_path, "intel-rapl:0", 900_000)
    zone(tmp_path, "intel-rapl:1", 0)
    zone(tmp_path, "intel-rapl:0:0", 5)
    meter = EnergyMeter([PowerCap(tmp_path)], now=10.0)
    zone(tmp_path, "intel-rapl:0", 100_000)
    zone(tmp_path, "intel-rapl:1", 300_000)
    zone(tmp_path, "intel-rapl:0:0", 999)
    (report,) = meter.report(now=12.0)
    assert (report.source, report.joules, report.watts) == ("rapl", pytest.approx(0.5), pytest.approx(0.25))
    (report,) = meter.report(now=13.0)
    assert (report.joules, report.watts) == (pytest.approx(0.5), 0.0)


def test_meters_that_cannot_be_read_say_nothing(tmp_path):
    assert EnergyMeter([PowerCap(tmp_path)], now=0.0).report(now=1.0) == ()
    (tmp_path / "intel-rapl:0").mkdir()  # and no counter in it, as for those who may not read it
    assert EnergyMeter([PowerCap(tmp_path)], now=0.0).report(now=1.0) == ()


class Library:
    """pynvml with three cards, the second of which counts no energy."""

    class NVMLError(Exception):
        pass

    def __init__(self):
        self.millijoules = {0: 1000, 2: 5000}

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return 3

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, card):
        if card not in self.millijoules:
            raise self.NVMLError("not supported")
        return self.millijoules[card]


def test_nvml_adds_the_cards_that_count():
    library = Library()
    meter = EnergyMeter([Nvml(library)], now=0.0)
    library.millijoules[2] += 3000
    (report,) = meter.report(now=1.5)
    assert (report.source, report.joules, report.watts) == ("nvml", 3.0, 2.0)


def test_a_machine_without_the_driver_has_no_such_source():
    class NoDriver(Library):
        def nvmlInit(self):
            raise self.NVMLError("driver not loaded")

    def missing():
        raise ImportError

    assert [source.name for source in installed_sources(NoDriver)] == ["rapl"]
    assert [source.name for source in installed_sources(missing)] == ["rapl"]

"""Which device each worker gets."""

from __future__ import annotations

import pytest

from overpaint_backend.executors.placement import Placement, cuda_devices, placements

TWO_CARDS = """\
GPU 0: NVIDIA RTX A6000 (UUID: GPU-aaaa-0)
GPU 1: NVIDIA RTX A6000 (UUID: GPU-bbbb-1)
"""
A_CARD_IN_PARTS = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa-0)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccc-2)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddd-3)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb-1)
"""


@pytest.mark.parametrize(
    ("listed", "devices"),
    [
        (TWO_CARDS, ("GPU-aaaa-0", "GPU-bbbb-1")),
        (A_CARD_IN_PARTS, ("MIG-cccc-2", "MIG-dddd-3", "GPU-bbbb-1")),
        ("No devices found.", ()),
        ("", ()),
    ],
)
def test_the_driver_lists_the_devices(listed, devices):
    assert cuda_devices({}, lambda: listed) == devices


@pytest.mark.parametrize(
    ("visible", "devices"),
    [("2,0", ("2", "0")), ("GPU-x", ("GPU-x",)), ("1, -1, 0", ("1",)), ("", ()), ("-1", ())],
)
def test_the_variable_decides_where_it_is_set(visible, devices):
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": visible}, lambda: TWO_CARDS) == devices


def test_a_machine_without_the_driver_has_no_devices(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert cuda_devices({}) == ()


def test_each_device_gets_a_worker_and_more_workers_share():
    first, second = placements(None, ["GPU-a", "GPU-b"])
    assert (first.place, first.environ) == ("cuda:0", {"CUDA_VISIBLE_DEVICES": "GPU-a"})
    assert (second.place, second.environ) == ("cuda:1", {"CUDA_VISIBLE_DEVICES": "GPU-b"})
    assert placements(3, ["GPU-a", "GPU-b"]) == [first, second, first]
    assert placements(1, ["GPU-a", "GPU-b"]) == [first]


@pytest.mark.parametrize("devices", [[], ["GPU-a"]])
def test_where_there_is_no_choice_nobody_is_told(devices):
    assert placements(None, devices) == [Placement()]
    assert placements(2, devices) == [Placement(), Placement()]

"""How a result ends, as the command line takes it."""

import pytest

from overpaint_backend.cli.options import EdgeOptions, SettingOptions
from overpaint_protocol.errors import RequestError
from overpaint_protocol.messages import Edges


@pytest.mark.parametrize(
    ("options", "edges"),
    [
        ({}, Edges()),
        (
            {"grow": 3, "blend": 0, "feather": 9, "fill_holes": True},
            Edges(grow_px=3, blend_px=0, feather_px=9, fill_holes=True),
        ),
        ({"protect_original": True, "feather": 2}, Edges(grow_px=0, blend_px=0, feather_px=2)),
        ({"protect_original": True, "grow": 0}, Edges(grow_px=0, blend_px=0)),
    ],
)
def test_edges_are_those_asked_for(options, edges):
    assert EdgeOptions(**options).chosen == edges


@pytest.mark.parametrize("options", [{"grow": 1}, {"blend": 5}])
def test_a_protected_original_is_not_reached_into(options):
    with pytest.raises(RequestError, match="protected original"):
        _ = EdgeOptions(protect_original=True, **options).chosen


def test_the_detail_is_a_setting():
    assert SettingOptions(detail=1.5).chosen.detail == 1.5

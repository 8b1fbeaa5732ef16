"""FakeEditor is held to the contract of the real editors."""

import pytest

from overpaint_client.testing.contract import EditorContract, run_contract
from overpaint_client.testing.fake_editor import FakeEditor
from overpaint_protocol.pixels import PixelFormat


class TestFakeEditor(EditorContract):
    @pytest.fixture(params=[PixelFormat.BGRA8, PixelFormat.RGBA8])
    def harness(self, request):
        return FakeEditor(pixel_format=request.param)


def test_run_contract_reports_what_an_editor_breaks():
    class Forgetful(FakeEditor):
        def commit(self, document_id, insertion, pictures):
            pass

    results = dict(run_contract(Forgetful))
    assert results["test_pixels_are_read_exactly"] == ""
    assert "AssertionError" in results["test_inserted_layer_shows"]

"""What other machines make different, as far as this one can tell: no oneDNN, Apple's graphics, parts that wait."""

from __future__ import annotations

import pytest
import torch
from tests.diffusion.sessions import part_of

from overpaint_backend.engines.diffusion.memory import choose_dtype, free_unused
from overpaint_backend.engines.diffusion.preview import LatentPreview
from overpaint_backend.models.families import FAMILIES
from overpaint_protocol.geometry import Size

CPU = torch.device("cpu")
LARGE = 4 << 30


def test_a_build_without_one_dnn_computes_in_whole_numbers(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", None)  # what it would be asked is not there either
    assert choose_dtype(CPU, LARGE) is torch.float32


def test_what_apples_graphics_keep_is_given_back_as_well(monkeypatch):
    given_back = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: given_back.append(True))
    free_unused()
    assert given_back


@pytest.mark.parametrize("family_id", ["sd15", "qwen-image"])
def test_the_chart_of_a_preview_goes_where_the_autoencoder_works(open_session, family_id):
    session, family = open_session(family_id), FAMILIES[family_id]
    autoencoder = part_of(session, family.autoencoder)  # waits on the processor
    seen = []

    def encode(pixels):
        seen.append(pixels.device.type)
        return autoencoder.encode(torch.zeros(pixels.shape))

    elsewhere = torch.device("meta")
    preview = LatentPreview(autoencoder, encode, family.layout, elsewhere)
    cells = {"sd15": torch.zeros(1, 4, 8, 8), "qwen-image": torch.zeros(1, 64, 16)}[family_id]
    preview.picture(cells, Size(64, 64))
    assert seen == ["meta"]

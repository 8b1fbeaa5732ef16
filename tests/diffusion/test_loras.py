"""LoRAs of a job: mixed as asked, told when they cannot be, and gone afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from tests.diffusion.sessions import HOLE, count_encodings, fill, live_bytes, request
from tests.diffusion.toy_loras import lora_tensors
from tests.diffusion.toys import write_manifest

from overpaint_backend.engines.base import Cancelled, GenerationSettings
from overpaint_backend.engines.diffusion.provider import DiffusionProvider
from overpaint_backend.models.store import ModelSettings, ModelStore
from overpaint_protocol.errors import EngineError, RequestError, UnsupportedOperation
from overpaint_protocol.messages import LoraWeight


def mixed(session, *loras, **changes):
    """A fill with LoRAs, each an id or an id and a weight."""
    pairs = [(lora, 1.0) if isinstance(lora, str) else lora for lora in loras]
    weights = tuple(LoraWeight(id=lora_id, weight=weight) for lora_id, weight in pairs)
    return fill(session, settings=GenerationSettings(steps=2, loras=weights), **changes)


def has_layers(session):
    parts = [
        part for part in session._model._pipeline.components.values() if isinstance(part, torch.nn.Module)
    ]
    return any(isinstance(module, BaseTunerLayer) for part in parts for module in part.modules())


@pytest.fixture
def odd_lora(models_dir, toy):
    """Installs a LoRA of any tensors, or of any bytes, and removes it after the test."""
    store = ModelStore(models_dir)
    ids = []

    def install(content, family_id="sd15", **fields):
        lora_id = f"odd-{len(ids)}"
        file = models_dir / lora_id / "files" / "lora.safetensors"
        file.parent.mkdir(parents=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            save_file(content, file)
        write_manifest(
            models_dir / lora_id, title="Odd", family=family_id, kind="lora", file=file.name, **fields
        )
        ids.append(lora_id)
        return lora_id

    yield install
    for lora_id in ids:
        if store.has(lora_id):
            store.remove(lora_id)


@pytest.mark.parametrize("family_id", ["sd15", "sdxl", "flux1-dev"])
def test_a_mix_is_the_same_whatever_was_mixed_before(open_session, toy_loras, family_id):
    words, style = toy_loras(family_id)
    fresh = open_session(family_id)
    both = mixed(fresh, words, (style, 0.5))
    session = open_session(family_id)
    plain = mixed(session)
    alone = mixed(session, style)
    assert np.array_equal(both, mixed(session, words, (style, 0.5)))
    assert np.array_equal(alone, mixed(session, style))
    mixed(session, words)
    assert np.array_equal(both, mixed(session, words, (style, 0.5)))
    assert np.array_equal(plain, mixed(session))


@pytest.mark.parametrize(
    ("family_id", "layout", "parts"),
    [
        ("sd15", "kohya", ["unet", "text_encoder"]),
        ("sdxl", "kohya", ["unet", "text_encoder", "text_encoder_2"]),
        ("sdxl", "kohya-sgm", ["unet", "text_encoder", "text_encoder_2"]),
    ],
)
def test_trainers_names_and_scales_mean_the_same(open_session, odd_lora, toy, family_id, layout, parts):
    session = open_session(family_id)
    one, other = (
        odd_lora(lora_tensors(toy(family_id), parts, layout=name), family_id) for name in ("peft", layout)
    )
    assert np.array_equal(mixed(session, (one, 0.5)), mixed(session, other))


def test_joined_layers_of_flux_mean_the_same_as_separate_ones(open_session, odd_lora):
    session = open_session("flux1-dev")
    down, up = torch.randn(2, 32), torch.randn(96, 2)
    joined = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(2.0)}
    kohya = {f"lora_unet_double_blocks_0_img_attn_qkv.{name}": tensor for name, tensor in joined.items()}
    peft = {}
    for name, part in zip(("to_q", "to_k", "to_v"), up.chunk(3), strict=True):
        layer = f"transformer.transformer_blocks.0.attn.{name}"
        peft |= {f"{layer}.lora_A.weight": down.clone(), f"{layer}.lora_B.weight": part.contiguous()}
    one, other = odd_lora(kohya, "flux1-dev"), odd_lora(peft, "flux1-dev")
    assert np.array_equal(mixed(session, one), mixed(session, other))
    assert not np.array_equal(mixed(session, one)[HOLE], mixed(session)[HOLE])


def test_after_a_fill_without_nothing_of_a_lora_is_left(open_session, toy_loras):
    session = open_session("sd15")
    before_image = mixed(session)
    session._model.forget()
    before = live_bytes()
    mixed(session, *toy_loras("sd15"))
    assert has_layers(session)
    assert live_bytes() > before
    assert np.array_equal(before_image, mixed(session))
    assert not has_layers(session)
    session._model.forget()
    assert live_bytes() <= before


def test_a_lora_without_weight_changes_nothing(open_session, toy_loras):
    session = open_session("sd15")
    words, style = toy_loras("sd15")
    assert np.array_equal(mixed(session), mixed(session, (words, 0.0), (style, 0.0)))


def test_a_negative_weight_leads_elsewhere(open_session, toy_loras):
    session = open_session("sd15")
    _, style = toy_loras("sd15")
    images = [mixed(session, (style, weight))[HOLE] for weight in (1.0, -1.0)]
    assert not np.array_equal(*images)


def test_prompts_are_encoded_anew_only_for_loras_that_change_words(open_session, toy_loras):
    session = open_session("sd15")
    words, style = toy_loras("sd15")
    calls = count_encodings(session)

    def encodings(*loras):
        calls["text_encoder"] = 0
        mixed(session, *loras)
        return calls["text_encoder"]

    once = encodings()
    assert once > 0
    assert encodings(style) == 0
    assert encodings(words) == once
    assert encodings((words, 0.5), style) == once
    assert encodings(words, (style, 0.3)) == 0
    assert encodings() == 0


def test_families_of_one_kind_share_loras(models_dir, toy, toy_loras):
    toy("sd15"), toy("sd15-inpaint"), toy("sdxl"), toy("kandinsky22")
    sd15, sdxl = toy_loras("sd15"), toy_loras("sdxl")
    infos = {
        engine.info().id: engine.info() for engine in DiffusionProvider(ModelStore(models_dir)).engines()
    }
    ids = {engine_id: {lora.id for lora in info.loras} for engine_id, info in infos.items()}
    assert ids["toy-sd15"] == ids["toy-sd15-inpaint"] == set(sd15)
    assert ids["toy-sdxl"] == set(sdxl)
    assert ids["toy-kandinsky22"] == set()
    assert not {*sd15, *sdxl} & infos.keys()
    assert {lora.name for lora in infos["toy-sd15"].loras} == {f"Toy LoRA {lora_id}" for lora_id in sd15}


def test_an_unknown_lora_is_an_error_that_names_those_there_are(open_session, toy_loras):
    toy_loras("sd15")
    with pytest.raises(RequestError, match=r"no LoRA called “toy-sd15”.*models import.*lora-sd15-words"):
        mixed(open_session("sd15"), "toy-sd15")


def test_a_lora_for_another_kind_of_model_is_refused(open_session, toy_loras):
    with pytest.raises(UnsupportedOperation, match=r"made for Stable Diffusion XL.*Stable Diffusion 1.5"):
        mixed(open_session("sd15"), toy_loras("sdxl")[0])
    with pytest.raises(UnsupportedOperation, match=r"Kandinsky 2\.2 inpainting takes no LoRAs"):
        mixed(open_session("kandinsky22"), toy_loras("sdxl")[0])


def test_a_lora_that_may_not_be_sold_with_is_hidden_on_demand(models_dir, open_session, odd_lora, toy):
    lora = odd_lora(lora_tensors(toy("sd15"), ["unet"]), commercial_use=False)
    store = ModelStore(models_dir)
    session = open_session("sd15")
    mixed(session, lora)
    store.choose(ModelSettings(commercial_only=True))
    try:
        engines = {engine.info().id: engine.info() for engine in DiffusionProvider(store).engines()}
        assert lora not in {one.id for one in engines["toy-sd15"].loras}
        with pytest.raises(RequestError, match="no LoRA called"):
            mixed(session, lora)
    finally:
        store.choose(ModelSettings())


@pytest.mark.parametrize("damage", ["no safetensors", "other shapes", "other names"])
def test_a_lora_that_does_not_fit_is_an_error_and_the_model_is_as_before(
    open_session, odd_lora, toy, toy_loras, damage
):
    session = open_session("sd15")
    before = mixed(session)
    good = lora_tensors(toy("sd15"), ["unet"])
    content = {
        "no safetensors": b"not a header at all",
        "other shapes": {name: torch.ones(3, 5) for name in good},
        "other names": {name.replace("unet.", "unet.nowhere."): tensor for name, tensor in good.items()},
    }[damage]
    lora = odd_lora(content)
    with pytest.raises(EngineError, match=r"“Odd”.*Leave it out"):
        mixed(session, toy_loras("sd15")[0], lora)
    assert not has_layers(session)
    assert np.array_equal(before, mixed(session))


def test_a_lora_of_a_control_variant_does_not_change_the_model(open_session, odd_lora, toy):
    session = open_session("flux1-dev")
    before = mixed(session)
    control = {
        "transformer.x_embedder.lora_A.weight": torch.randn(2, 32),
        "transformer.x_embedder.lora_B.weight": torch.randn(32, 2),
    }
    with pytest.raises(EngineError, match="does not fit"):
        mixed(session, odd_lora(control, "flux1-dev"))
    assert np.array_equal(before, mixed(session))


def test_a_lora_that_was_replaced_under_its_id_is_read_again(models_dir, open_session, odd_lora, toy):
    session = open_session("sd15")
    lora = odd_lora(lora_tensors(toy("sd15"), ["unet"], seed=5))
    first = mixed(session, lora)
    file = models_dir / lora / "files" / "lora.safetensors"
    save_file(lora_tensors(toy("sd15"), ["unet"], seed=6), file)
    write_manifest(models_dir / lora, title="Odd", family="sd15", kind="lora", file=file.name)
    assert not np.array_equal(first[HOLE], mixed(session, lora)[HOLE])


def test_a_cancel_while_loras_are_loaded_is_heard(open_session, toy_loras):
    session = open_session("sd15-inpaint")
    before = mixed(session)
    heard = []

    def stop(step):
        heard.append(step.fraction)
        if len(heard) == 3:  # the start, the first LoRA, the second
            assert has_layers(session)
            raise Cancelled

    weights = tuple(LoraWeight(id=lora) for lora in toy_loras("sd15-inpaint"))
    with pytest.raises(Cancelled):
        session.fill(request(settings=GenerationSettings(steps=2, loras=weights)), stop)
    assert len(heard) == 3
    assert not has_layers(session)
    assert np.array_equal(before, mixed(session))

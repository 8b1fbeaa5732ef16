"""Parts that are installed apart from a model: ControlNets for inpainting, and networks without the rest."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.diffusion.sessions import HOLE, part_of, request
from tests.diffusion.toys import install_toy, make_part

from overpaint_backend.engines.base import Device, GenerationSettings
from overpaint_backend.engines.diffusion.provider import DiffusionProvider
from overpaint_backend.engines.testing import EngineConformance
from overpaint_backend.models.companions import describe_use
from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.importer import import_model
from overpaint_backend.models.store import ModelSettings, ModelStore
from overpaint_protocol.errors import EngineError

QUICK = GenerationSettings(steps=2)
FORMS = ("folder", "file")
CONTROLLED = ("qwen-image", "z-image-turbo")


def save_controlnet(path, family_id, form):
    """The family's toy ControlNet as its makers publish one: a folder, or a file under a misleading name."""
    controlnet = make_part(family_id, "controlnet", seed=11)
    if form == "folder":
        controlnet.save_pretrained(path / "vae")
        return path / "vae"
    path.mkdir(parents=True, exist_ok=True)
    save_file(controlnet.state_dict(), path / "sdxl-lora.safetensors")
    return path / "sdxl-lora.safetensors"


def engines(store):
    return {engine.info().id: engine for engine in DiffusionProvider(store).engines()}


def fill(engine):
    session = engine.open(Device())
    try:
        return session.fill(request(settings=QUICK), lambda step: None).image
    finally:
        session.close()


@pytest.fixture(scope="session")
def bare_store(tmp_path_factory):
    """A base model of each family that takes ControlNets, without one; and each family's ControlNets beside it."""
    root = tmp_path_factory.mktemp("companions")
    for family_id in CONTROLLED:
        install_toy(root / "models", family_id, without=("controlnet",))
        for form in FORMS:
            save_controlnet(root / family_id / form, family_id, form)
    return root


@pytest.fixture
def store(bare_store, tmp_path):
    shutil.copytree(bare_store / "models", tmp_path / "models")
    return ModelStore(tmp_path / "models")


@pytest.fixture
def add(bare_store, store):
    def add(family_id, form, **options):
        folder = bare_store / family_id / form
        return import_model(store, next(iter(folder.iterdir())), model_id=f"{family_id}-control", **options)

    return add


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family_id", CONTROLLED)
def test_an_installed_controlnet_is_used_and_its_removal_goes_back(store, add, family_id, form):
    engine_id = f"toy-{family_id}"
    before = fill(engines(store)[engine_id])
    made = add(family_id, form)
    assert (made.kind, made.family) == ("controlnet", family_id)
    assert set(engines(store)) == {f"toy-{other}" for other in CONTROLLED}
    controlled = fill(engines(store)[engine_id])
    assert not np.array_equal(controlled[HOLE], before[HOLE])
    store.remove(made.id)
    assert np.array_equal(fill(engines(store)[engine_id]), before)


@pytest.mark.parametrize("family_id", CONTROLLED)
def test_folder_and_file_paint_the_same(store, add, family_id):
    pictures = []
    for form in FORMS:
        made = add(family_id, form)
        pictures.append(fill(engines(store)[f"toy-{family_id}"]))
        store.remove(made.id)
    assert np.allclose(*pictures, atol=1e-5)


@pytest.mark.parametrize("family_id", CONTROLLED)
def test_what_surrounds_the_hole_reaches_the_controlnet_and_what_it_hides_does_not(store, add, family_id):
    add(family_id, "folder")
    session = engines(store)[f"toy-{family_id}"].open(Device())
    seen = []

    def note(module, arguments, named):
        tensors = [value for value in (*arguments, *named.values()) if isinstance(value, torch.Tensor)]
        seen[-1].append(torch.cat([tensor.float().flatten() for tensor in tensors]))

    part_of(session, "controlnet").register_forward_pre_hook(note, with_kwargs=True)
    hidden, around = request().image.copy(), request().image.copy()
    hidden[HOLE] = 1 - hidden[HOLE]
    around[:8] = 1 - around[:8]
    for image in (request().image, hidden, around):
        seen.append([])
        session.fill(request(image=image, settings=QUICK), lambda step: None)
    first = [calls[0] for calls in seen]  # of the first step, which starts from the same noise
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    session.close()


@pytest.mark.parametrize("family_id", CONTROLLED)
def test_nothing_is_shared_with_the_network_so_that_each_can_wait_elsewhere(store, add, family_id):
    add(family_id, "folder")
    session = engines(store)[f"toy-{family_id}"].open(Device())
    network, controlnet = (
        {id(each) for each in (*part.modules(), *part.parameters())}
        for part in (part_of(session, "transformer"), part_of(session, "controlnet"))
    )
    assert network.isdisjoint(controlnet)
    session.close()


def test_a_controlnet_whose_untrained_refiner_is_nothing_uses_its_layers(store, tmp_path):
    controlnet = make_part("z-image-turbo", "controlnet", seed=11)
    weights = controlnet.state_dict()
    empty = {
        name.replace("control_layers.0", "control_noise_refiner.0"): torch.zeros_like(weight)
        for name, weight in weights.items()
        if name.startswith("control_layers.0.")
    }
    save_file(weights | empty, tmp_path / "second-version.safetensors")
    import_model(store, tmp_path / "second-version.safetensors", model_id="second")
    session = engines(store)["toy-z-image-turbo"].open(Device())
    assert part_of(session, "controlnet").config.add_control_noise_refiner == "control_layers"
    session.close()


def test_a_controlnet_that_does_not_fit_its_base_is_an_error_that_names_both(store, tmp_path):
    weights = make_part("qwen-image", "controlnet").state_dict()
    del weights["txt_in.bias"]
    save_file(weights, tmp_path / "holey.safetensors")
    import_model(store, tmp_path / "holey.safetensors", model_id="qwen-image-control")
    with pytest.raises(
        EngineError, match=r"verify toy-qwen-image, overpaint models verify qwen-image-control"
    ):
        engines(store)["toy-qwen-image"].open(Device())


def test_a_model_with_a_controlnet_of_its_own_keeps_it(tmp_path, add, store):
    install_toy(store.root, "z-image-turbo", model_id="complete")
    complete = engines(store)["complete"]
    before = fill(complete)
    controlnet = add("z-image-turbo", "file")
    assert engines(store)["complete"] == complete, "it would be loaded anew for nothing"
    assert engines(store)["complete"].weight_bytes(Device()) == complete.weight_bytes(Device())
    assert "toy-z-image-turbo" in describe_use(controlnet, store.models())
    assert "complete" not in describe_use(controlnet, store.models())
    assert np.array_equal(fill(engines(store)["complete"]), before)
    assert not np.allclose(fill(engines(store)["toy-z-image-turbo"]), before, atol=1e-3)


def test_what_the_setting_hides_is_not_used_by_what_it_shows(store, add, tmp_path):
    before = fill(engines(store)["toy-qwen-image"])
    add("qwen-image", "folder")
    network = save_network(tmp_path / "x.safetensors", "qwen-image", seed=12)
    import_model(store, network, model_id="free", licence="apache-2.0")
    store.choose(ModelSettings(commercial_only=True))
    assert np.array_equal(fill(engines(store)["toy-qwen-image"]), before)
    store.choose(ModelSettings())
    assert not np.array_equal(fill(engines(store)["toy-qwen-image"]), before)


@pytest.mark.parametrize("family_id", CONTROLLED)
class TestControlled(EngineConformance):
    """A base model and a ControlNet that was installed apart keep the promises of engines together."""

    @pytest.fixture(autouse=True)
    def engine(self, store, add, family_id):
        add(family_id, "file")
        self._engine = engines(store)[f"toy-{family_id}"]

    def make_engine(self):
        return self._engine

    def make_request(self, height, width, hole, **changes):
        few = {"settings": QUICK, "prompt": "a red door"}
        return super().make_request(height, width, hole, **{**few, **changes})


def save_network(path, family_id, *, seed):
    """The network of the family's toy alone, in its makers' names where those are others than diffusers'."""
    main = FAMILIES[family_id].main
    weights = dict(make_part(family_id, main, seed=seed).state_dict())
    if family_id == "z-image-turbo":
        weights = {_z_image_name(name): weight for name, weight in _fuse_attention(weights).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return path


def _fuse_attention(weights):
    fused = dict(weights)
    for name in [name for name in weights if name.endswith(".attention.to_q.weight")]:
        layer = name.removesuffix("to_q.weight")
        parts = [fused.pop(f"{layer}to_{part}.weight") for part in "qkv"]
        fused[f"{layer}qkv.weight"] = torch.cat(parts)
    return fused


def _z_image_name(name):
    for ours, theirs in {
        "all_final_layer.2-1.": "final_layer.",
        "all_x_embedder.2-1.": "x_embedder.",
        ".attention.norm_q.": ".attention.q_norm.",
        ".attention.norm_k.": ".attention.k_norm.",
        ".attention.to_out.0.": ".attention.out.",
    }.items():
        name = name.replace(ours, theirs)
    return f"model.diffusion_model.{name}"


NETWORKS = ("sd15", "flux2-klein", "qwen-image", "z-image-turbo", "chroma")


@pytest.mark.parametrize("family_id", NETWORKS)
def test_a_network_alone_paints_with_the_rest_of_an_installed_model(family_id, tmp_path):
    store = ModelStore(tmp_path / "models")
    import_model(store, save_network(tmp_path / "a" / "vae.safetensors", family_id, seed=7), model_id="same")
    import_model(
        store, save_network(tmp_path / "b" / "vae.safetensors", family_id, seed=12), model_id="other"
    )
    assert not engines(store)
    install_toy(store.root, family_id, model_id="base", without=("controlnet",))
    offered = engines(store)
    assert set(offered) == {"base", "same", "other"}
    base = fill(offered["base"])
    # Where weights begin in memory decides about the last bit of sums.
    assert np.allclose(fill(offered["same"]), base, atol=1e-5)
    assert np.abs(fill(offered["other"])[HOLE] - base[HOLE]).mean() > 1e-3
    store.remove("base")
    assert not engines(store)


def test_a_network_alone_uses_a_controlnet_too(store, add, tmp_path):
    import_model(store, save_network(tmp_path / "x.safetensors", "qwen-image", seed=12), model_id="other")
    before = fill(engines(store)["other"])
    add("qwen-image", "folder")
    assert not np.array_equal(fill(engines(store)["other"])[HOLE], before[HOLE])


def test_a_network_with_a_layer_missing_is_an_error_that_names_both(tmp_path):
    store = ModelStore(tmp_path / "models")
    install_toy(store.root, "qwen-image", model_id="base", without=("controlnet",))
    weights = dict(make_part("qwen-image", "transformer").state_dict())
    del weights["txt_in.bias"]
    save_file(weights, tmp_path / "holey.safetensors")
    import_model(store, tmp_path / "holey.safetensors")
    with pytest.raises(EngineError, match="verify holey, overpaint models verify base"):
        engines(store)["holey"].open(Device())

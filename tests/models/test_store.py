"""The installed models: nothing half-installed is offered, damage is found, removal is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overpaint_backend.models.errors import ModelDamaged, ModelError, ModelRefused, UnknownModel
from overpaint_backend.models.importer import import_model
from overpaint_backend.models.manifest import check_relative
from overpaint_backend.models.store import MODELS_DIR_VARIABLE, ModelSettings, ModelStore

from .builders import sd_checkpoint, write_folder, write_safetensors


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "source" / "My Model")


def test_an_empty_store_needs_no_folder(store: ModelStore):
    assert store.models() == ()
    assert store.broken() == ()
    assert not store.root.exists()


def test_the_environment_says_where(tmp_path: Path):
    assert ModelStore.from_environment({MODELS_DIR_VARIABLE: str(tmp_path)}).root == tmp_path
    assert ModelStore.from_environment({}).root.name == "models"


def test_an_installed_model_is_found_by_another_process(store: ModelStore, folder: Path):
    made = import_model(store, folder)
    assert ModelStore(store.root).models() == (made,)
    assert ModelStore(store.root).get("my-model") == made
    assert made.path == store.root / "my-model" / "files"


def test_an_unknown_model_is_a_sentence_with_the_known_ones(store: ModelStore, folder: Path):
    import_model(store, folder)
    for model_id in ("nothing", "../my-model", "", "MY-MODEL"):
        with pytest.raises(UnknownModel, match="Installed: my-model"):
            store.get(model_id)


@pytest.mark.parametrize("fate", ["missing", "longer", "no manifest", "broken manifest", "foreign manifest"])
def test_what_is_not_whole_is_not_offered(fate: str, store: ModelStore, folder: Path):
    made = import_model(store, folder)
    manifest = store.root / made.id / "model.json"
    weights = made.path / "unet" / "diffusion_pytorch_model.safetensors"
    if fate == "missing":
        weights.unlink()
    elif fate == "longer":
        weights.write_bytes(weights.read_bytes() + b"\0")
    elif fate == "no manifest":
        manifest.unlink()
    elif fate == "broken manifest":
        manifest.write_text(manifest.read_text()[:-20])
    else:
        manifest.rename(manifest.with_name("x"))
        plain = json.loads((manifest.with_name("x")).read_text())
        plain["files"][0]["path"] = "../../settings.json"
        manifest.write_text(json.dumps(plain))
    assert store.models() == ()
    assert [model_id for model_id, _ in store.broken()] == [made.id]
    with pytest.raises(ModelDamaged, match="Remove it and add it again"):
        store.get(made.id)
    store.remove(made.id)
    assert store.broken() == ()


def test_a_flipped_byte_is_found(store: ModelStore, folder: Path):
    made = import_model(store, folder)
    assert store.verify(made.id) == ()
    weights = made.path / "unet" / "diffusion_pytorch_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-100] ^= 1
    weights.write_bytes(raw)
    assert [(problem.path, problem.reason) for problem in store.verify(made.id)] == [
        ("unet/diffusion_pytorch_model.safetensors", "content")
    ]


def test_verifying_tells_how_far_it_is(store: ModelStore, folder: Path):
    made = import_model(store, folder)
    seen: list[tuple[int, int]] = []
    store.verify(made.id, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (made.total_bytes, made.total_bytes)


def test_removing_leaves_nothing(store: ModelStore, folder: Path):
    made = import_model(store, folder)
    store.remove(made.id)
    assert store.models() == ()
    assert not (store.root / made.id).exists()
    assert list((store.root / ".removed").iterdir()) == []
    with pytest.raises(UnknownModel):
        store.remove(made.id)
    assert import_model(store, folder).id == made.id


def test_removing_a_link_leaves_the_files(store: ModelStore, folder: Path):
    made = import_model(store, folder, link=True)
    assert made.is_external
    store.remove(made.id)
    assert (folder / "unet" / "diffusion_pytorch_model.safetensors").is_file()


def test_an_id_is_given_once(store: ModelStore, folder: Path):
    import_model(store, folder, model_id="mine")
    with pytest.raises(ModelError, match="is there already"):
        import_model(store, folder, model_id="mine")
    assert import_model(store, folder).id == "my-model"
    assert import_model(store, folder).id == "my-model-2"


@pytest.mark.parametrize("model_id", ["embedded", "../x", "a/b", ".hidden", "", "x" * 65, "Größe"])
def test_a_bad_id_is_refused(model_id: str, store: ModelStore, folder: Path):
    with pytest.raises(ModelError):
        import_model(store, folder, model_id=model_id)
    assert store.models() == ()


def test_an_install_that_fails_half_way_offers_nothing(
    store: ModelStore, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(path: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ModelError, match="Check that the disk has room"):
        import_model(store, folder)
    assert store.models() == ()
    assert store.broken() == ()
    monkeypatch.undo()
    assert import_model(store, folder).id == "my-model"


def test_two_programs_do_not_install_one_model_at_once(store: ModelStore, folder: Path):
    with store.stage("my-model"), pytest.raises(ModelError, match="Another program"):
        import_model(store, folder)


def test_commercial_only_hides_what_is_not_plainly_allowed(store: ModelStore, tmp_path: Path):
    file = write_safetensors(tmp_path / "x.safetensors", sd_checkpoint())
    for model_id, licence in (
        ("free", "Apache-2.0"),
        ("unknown", ""),
        ("research", "flux-1-dev-non-commercial-license"),
        ("depends", "stabilityai-ai-community"),
    ):
        import_model(store, file, model_id=model_id, licence=licence)
    assert len(store.models()) == 4
    store.choose(ModelSettings(commercial_only=True))
    other = ModelStore(store.root)
    assert [model.id for model in other.models()] == ["free"]
    assert len(other.models(include_hidden=True)) == 4
    assert other.get("research").commercial_use is False
    store.choose(ModelSettings())
    assert len(other.models()) == 4


@pytest.mark.parametrize(
    "text", ['{"commercial_only": "no"}', '{"commercial_only": true}', '{"commercial_only": 1}']
)
def test_a_setting_written_by_hand_errs_on_the_strict_side(text: str, store: ModelStore):
    store.root.mkdir()
    (store.root / "settings.json").write_text(text)
    assert store.settings().commercial_only


@pytest.mark.parametrize("path", ["../x", "/x", "a/../x", "a\\x", "c:x", "", "a/./b", "a\0b", "."])
def test_paths_that_leave_the_model_are_refused(path: str):
    with pytest.raises(ValueError, match="not a path"):
        check_relative(path)


def test_refusals_are_model_errors():
    assert issubclass(ModelRefused, ModelError)


def test_the_stamp_changes_with_what_is_offered_and_with_nothing_else(store: ModelStore, folder: Path):
    def is_news(change) -> bool:
        before = store.stamp()
        change()
        return store.stamp() != before

    assert not is_news(store.models)
    assert is_news(lambda: import_model(store, folder))
    assert not is_news(lambda: (store.models(), store.verify("my-model")))
    assert is_news(lambda: store.choose(ModelSettings(commercial_only=True)))
    assert is_news(lambda: store.remove("my-model"))
    with store.stage("unfinished") as staging:
        assert not is_news(staging.clear)

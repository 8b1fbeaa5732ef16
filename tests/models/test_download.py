"""Downloads from a hub on the loopback: agreed to, resumed after kills on either side, checked while they come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.utils
import pytest

from overpaint_backend.cli import models as cli
from overpaint_backend.models import download as downloading
from overpaint_backend.models.catalog import KnownModel
from overpaint_backend.models.download import download, plan_download
from overpaint_backend.models.errors import DownloadFailed, ModelError, ModelRefused
from overpaint_backend.models.hub import Hub
from overpaint_backend.models.store import ModelStore

from .builders import (
    lora,
    qwen_controlnet,
    safetensors_bytes,
    sd_checkpoint,
    write_folder,
    z_image_controlnet,
)
from .hub_server import COMMIT, HubServer

PROJECT = Path(__file__).parents[2]
REPO = "owner/painter"
UNET = "unet/diffusion_pytorch_model.safetensors"
UNET_BYTES = len(safetensors_bytes({"b": (16, 65536)}))
KOHYA = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
WAIT_S = 60.0


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(downloading, "_PAUSE_S", 0.0)
    yield
    huggingface_hub.utils.close_session()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A diffusers model whose UNet is 2 MB."""
    folder = write_folder(tmp_path / "hub" / REPO)
    (folder / UNET).write_bytes(safetensors_bytes({"b": (16, 65536)}, fill=7))
    (folder / "card.json").write_text('{"license": "creativeml-openrail-m"}')
    return folder


@pytest.fixture
def hub(repository: Path) -> Iterator[HubServer]:
    with HubServer(repository.parents[1]) as server:
        yield server


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"it never happened: {what}")


def part_of(store: ModelStore) -> Path:
    return store.root / ".incoming" / "painter" / "files" / (UNET + ".part")


def grown(store: ModelStore, least: int) -> Callable[[], bool]:
    return lambda: part_of(store).exists() and part_of(store).stat().st_size >= least


def test_a_plan_tells_all_before_weights_are_asked_for(hub: HubServer):
    plan = plan_download(Hub(hub.address), REPO)
    assert plan.remote.commit == COMMIT
    assert (plan.recognised.family, plan.recognised.kind) == ("sd15-inpaint", "diffusers")
    assert (plan.licence.title, plan.licence.commercial_use) == ("CreativeML OpenRAIL-M", True)
    assert plan.total_bytes == sum(file.bytes for file in plan.files) > UNET_BYTES
    assert not [path for path, _ in hub.requests if path.endswith(".safetensors")]


def test_a_model_arrives_checked_and_works_without_the_hub(hub: HubServer, store: ModelStore):
    client = Hub(hub.address)
    seen: list[tuple[int, int]] = []
    plan = plan_download(client, REPO)
    made = download(client, store, plan, lambda done, total: seen.append((done, total)))
    assert (made.revision, made.source) == (COMMIT, f"hub:{REPO}")
    assert (made.licence, made.commercial_use) == ("creativeml-openrail-m", True)
    assert seen[-1] == (plan.total_bytes, plan.total_bytes)
    present = {path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.is_file()}
    assert present == {file.path for file in made.files}
    assert store.verify(made.id) == ()
    with pytest.raises(ModelError, match="is there already"):
        download(client, store, plan)


def test_a_pinned_revision_is_what_comes(hub: HubServer):
    assert plan_download(Hub(hub.address), REPO, revision=COMMIT).remote.commit == COMMIT
    with pytest.raises(ModelError, match="no version"):
        plan_download(Hub(hub.address), REPO, revision="f" * 40)


def test_a_connection_that_breaks_is_taken_up_again(hub: HubServer, store: ModelStore):
    hub.cut[UNET] = (500_000, 2)
    client = Hub(hub.address)
    made = download(client, store, plan_download(client, REPO))
    assert store.verify(made.id) == ()
    first, second, third = hub.weights_asked(UNET)
    assert first == ""
    assert second.startswith("bytes=5")
    assert third.startswith("bytes=5")


def test_a_hub_that_ignores_ranges_costs_a_new_start(hub: HubServer, store: ModelStore):
    hub.cut[UNET] = (500_000, 1)
    hub.deaf.add(UNET)
    client = Hub(hub.address)
    made = download(client, store, plan_download(client, REPO))
    assert store.verify(made.id) == ()


def test_other_bytes_than_announced_are_never_installed(hub: HubServer, store: ModelStore):
    hub.flip.add(UNET)
    client = Hub(hub.address)
    plan = plan_download(client, REPO)
    with pytest.raises(DownloadFailed, match="checksum differs"):
        download(client, store, plan)
    assert store.models() == ()
    assert not part_of(store).exists()
    hub.flip.clear()
    assert download(client, store, plan).id == "painter"


def test_small_files_are_checked_too(hub: HubServer, store: ModelStore):
    client = Hub(hub.address)
    plan = plan_download(client, REPO)
    hub.flip.add("tokenizer/merges.txt")
    with pytest.raises(DownloadFailed, match="checksum differs"):
        download(client, store, plan)


def test_a_part_that_rotted_meanwhile_is_fetched_anew(hub: HubServer, store: ModelStore):
    hub.cut[UNET] = (500_000, 4)
    client = Hub(hub.address)
    plan = plan_download(client, REPO)
    with pytest.raises(DownloadFailed, match="goes on where it stopped"):
        download(client, store, plan)
    raw = bytearray(part_of(store).read_bytes())
    raw[1000] ^= 1
    part_of(store).write_bytes(raw)
    made = download(client, store, plan)
    assert store.verify(made.id) == ()


def test_another_commit_starts_from_nothing(hub: HubServer, store: ModelStore, repository: Path):
    hub.cut[UNET] = (500_000, 4)
    client = Hub(hub.address)
    plan = plan_download(client, REPO)
    with pytest.raises(DownloadFailed):
        download(client, store, plan)
    source = store.root / ".incoming" / "painter" / "source.json"
    source.write_text(source.read_text().replace(COMMIT, "f" * 40))
    hub.requests.clear()
    made = download(client, store, plan)
    assert hub.weights_asked(UNET) == [""]
    assert store.verify(made.id) == ()


def test_a_forgotten_download_leaves_nothing(hub: HubServer, store: ModelStore):
    hub.cut[UNET] = (500_000, 4)
    client = Hub(hub.address)
    with pytest.raises(DownloadFailed):
        download(client, store, plan_download(client, REPO))
    store.remove("painter")
    assert not part_of(store).exists()


def test_a_single_file_is_told_by_its_header_before_the_download(hub: HubServer, store: ModelStore):
    folder = hub.root / "owner" / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.safetensors").write_bytes(safetensors_bytes(lora({KOHYA: 2048})))
    (folder / "b.safetensors").write_bytes(safetensors_bytes(sd_checkpoint(inputs=9)))
    (folder / "c.ckpt").write_bytes(b"PK\x03\x04" + bytes(100))
    client = Hub(hub.address)
    with pytest.raises(ModelRefused, match=r"b\.safetensors, sub/a\.safetensors: name one with --file"):
        plan_download(client, "owner/files")
    with pytest.raises(ModelRefused, match="is a pickle"):
        plan_download(client, "owner/files", file="c.ckpt")
    plan = plan_download(client, "owner/files", file="sub/a.safetensors")
    assert (plan.recognised.family, plan.recognised.kind, plan.model_id) == ("sdxl", "lora", "a")
    assert plan.licence.commercial_use is None
    made = download(client, store, plan)
    assert made.path == store.root / "a" / "files" / "a.safetensors"
    assert store.verify("a") == ()


def test_pickled_weights_are_not_downloaded(hub: HubServer, repository: Path):
    (repository / UNET).rename(repository / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelRefused, match="could run any program"):
        plan_download(Hub(hub.address), REPO)


REFUSALS = {
    "gated": ((403, "GatedRepo"), "asks for your consent first"),
    "private": ((401, "RepoNotFound"), "no model owner/painter, or it is private"),
    "broken": ((500, ""), "goes on where it stopped"),
}


@pytest.mark.parametrize(("answer", "sentence"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_of_the_hub_is_a_sentence(answer, sentence, hub: HubServer):
    hub.refuse[REPO] = answer
    with pytest.raises(ModelError, match=sentence):
        plan_download(Hub(hub.address), REPO)


def test_names_that_are_none_and_hubs_that_are_away(hub: HubServer):
    with pytest.raises(ModelRefused, match="Write OWNER/NAME"):
        plan_download(Hub(hub.address), "a b/c")
    with pytest.raises(DownloadFailed):
        plan_download(Hub("http://127.0.0.1:1"), REPO)


def test_a_full_disk_is_said_before_the_download(
    hub: HubServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "free_bytes", lambda: 1000)
    client = Hub(hub.address)
    with pytest.raises(ModelError, match="lacks"):
        download(client, store, plan_download(client, REPO))
    assert not hub.weights_asked(UNET)


def environ(home: Path, address: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": address,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OVERPAINT_MODELS_DIR": str(home / "models"),
        "PYTHONPATH": os.pathsep.join(
            str(PROJECT / name) for name in ("protocol", "backend", "plugins/common")
        ),
        "PYTHONWARNINGS": "error",
    }


def start_add(home: Path, address: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "overpaint_backend", "models", "add", REPO, *options],
        env=environ(home, address),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_kill_9_in_the_middle_loses_nothing_and_offers_nothing(
    hub: HubServer, store: ModelStore, tmp_path: Path
):
    hub.stall[UNET] = 1_200_000
    process = start_add(tmp_path, hub.address, "--yes")
    try:
        wait_until(grown(store, 1_000_000), "a megabyte came")
    finally:
        process.kill()
        process.communicate()
    present = part_of(store).stat().st_size
    assert store.models() == ()
    assert store.broken() == ()
    hub.stall.clear()
    hub.released.set()
    hub.requests.clear()
    again = start_add(tmp_path, hub.address, "--yes", "--json")
    out, err = again.communicate(timeout=WAIT_S)
    assert again.returncode == 0, err
    assert json.loads(out)["model"]["id"] == "painter"
    assert hub.weights_asked(UNET) == [f"bytes={present}-"]
    assert store.verify("painter") == ()
    assert store.get("painter").revision == COMMIT


def test_a_hub_that_is_killed_is_taken_up_again_elsewhere(
    repository: Path, store: ModelStore, tmp_path: Path
):
    root = repository.parents[1]
    serving = subprocess.Popen(
        [sys.executable, "-m", "tests.models.hub_server", str(root), f"{UNET}:1200000"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serving.stdout is not None
    process = None
    try:
        process = start_add(tmp_path, serving.stdout.readline().strip(), "--yes")
        wait_until(grown(store, 1_000_000), "a megabyte came")
    finally:
        serving.kill()
        serving.wait()
        serving.stdout.close()
        err = process.communicate(timeout=WAIT_S)[1] if process else ""
    assert process is not None
    assert process.returncode == 1
    assert "goes on where it stopped" in err
    assert store.models() == ()
    with HubServer(root) as other:
        client = Hub(other.address)
        made = download(client, store, plan_download(client, REPO))
        assert other.weights_asked(UNET)[0].startswith("bytes=1")
    assert store.verify(made.id) == ()


def test_nothing_comes_without_consent(hub: HubServer, store: ModelStore, tmp_path: Path):
    process = start_add(tmp_path, hub.address)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "CreativeML OpenRAIL-M, commercial use: yes" in out
    assert "2.1 MB in " in out
    assert "Agree with --yes" in err
    assert not hub.weights_asked(UNET)
    assert store.models() == ()


def test_a_controlnets_repository_is_told_by_its_config(hub: HubServer, store: ModelStore):
    folder = hub.root / "owner" / "control"
    folder.mkdir(parents=True)
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(safetensors_bytes(qwen_controlnet()))
    (folder / "config.json").write_text(
        '{"_class_name": "QwenImageControlNetModel", "extra_condition_channels": 4}'
    )
    (folder / "pipeline.py").write_text("raise SystemExit")
    client = Hub(hub.address)
    plan = plan_download(client, "owner/control")
    assert (plan.recognised.family, plan.recognised.kind) == ("qwen-image", "controlnet")
    made = download(client, store, plan)
    assert made.path == store.root / "control" / "files"
    assert [file.path for file in made.files] == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert store.get("control") == made
    assert not hub.weights_asked("pipeline.py")


def test_a_known_model_brings_its_file_and_family_and_another_version_may_be_named(
    hub: HubServer, store: ModelStore
):
    known = KnownModel(
        id="z-control",
        title="Z",
        repo="owner/z",
        family="z-image",
        licence_id="apache-2.0",
        kind="controlnet",
        file="b.safetensors",
    )
    folder = hub.root / "owner" / "z"
    folder.mkdir(parents=True)
    (folder / "a.safetensors").write_bytes(safetensors_bytes(lora({KOHYA: 2048})))
    (folder / "b.safetensors").write_bytes(safetensors_bytes(z_image_controlnet()))
    client = Hub(hub.address)
    plan = plan_download(client, known.repo, revision=COMMIT, known=known)
    assert (plan.model_id, plan.recognised.family, plan.recognised.kind) == (
        "z-control",
        "z-image",
        "controlnet",
    )
    assert plan.licence.commercial_use is True
    assert download(client, store, plan).revision == COMMIT
    with pytest.raises(ModelRefused, match="not a model of z-image"):
        plan_download(client, known.repo, known=known, file="a.safetensors")


def test_a_short_name_gets_its_version_or_the_one_that_is_named(
    hub: HubServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    known = KnownModel(
        id="mine", title="Mine", repo=REPO, family="sd15-inpaint", licence_id="mit", revision="f" * 40
    )
    monkeypatch.setattr(cli, "CATALOG", {"mine": known})
    monkeypatch.setattr(cli, "Hub", lambda: Hub(hub.address))

    def add(revision: str | None) -> int:
        options = {"file": None, "model_id": None, "family": None, "yes": True, "as_json": False}
        return cli.run_add(store, "mine", revision=revision, **options)

    with pytest.raises(ModelError, match=f"no version {'f' * 40}"):
        add(None)
    assert add(COMMIT) == 0
    assert store.get("mine").revision == COMMIT
    said = capsys.readouterr().out
    assert f"Mine ({REPO}), version {COMMIT}" in said
    assert "2.1 MB in " in said
    assert "CreativeML OpenRAIL-M, commercial use: yes" in said  # what the repository says, not the catalog

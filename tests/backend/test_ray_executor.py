"""Workers as actors of Ray: the suite of executors, and what only Ray has. One Ray serves the whole module."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.backend import worker_scripts
from tests.backend.executor_contract import WAIT_S, ExecutorContract, hear
from tests.integration.daemon_process import wait_until
from typer.testing import CliRunner

from overpaint_backend.cli.app import app
from overpaint_backend.executors.base import Ready, WorkerGone, WorkerSettings
from overpaint_backend.executors.ray import RayCluster, RayExecutor, cluster_address
from overpaint_protocol.errors import DaemonError, RequestError
from overpaint_protocol.version import PRODUCT_VERSION

pytestmark = pytest.mark.timeout(400)

PROGRAM = """
from overpaint_backend.executors.ray_worker import main
from tests.backend import worker_scripts
main(worker_scripts.{serve})
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        # A machine that has far less memory left than Ray would let it have: the whole suite goes on nevertheless.
        patch.setenv("RAY_memory_usage_threshold", "0.001")
        cluster = RayCluster(tmp_path_factory.mktemp("ray") / "ray.address")
        yield cluster
        cluster.stop(30)


class TestRayExecutor(ExecutorContract):
    # Each start takes seconds, and who counts them is ProcessExecutor.
    failing_starts = 2
    ages_and_pauses = ((9.5, 0.5), (10.5, 0.0))

    @pytest.fixture(autouse=True)
    def _use(self, cluster):
        self.cluster = cluster

    def make(self, context, authorize, serve, **options):
        return RayExecutor(context, authorize, self.cluster, program=PROGRAM.format(serve=serve), **options)

    def test_ray_listens_on_the_loopback_alone_and_tells_nobody(self, start):
        hear(start("echo"), Ready)
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        names = {process.name() for process in processes}
        assert {"gcs_server", "raylet"} <= names
        listening = {
            (process.name(), connection.laddr.ip)
            for process in processes
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert len(listening) >= 4, "the head, its node, the actor and the process beside it"
        for name, address in listening:
            ip = ipaddress.ip_address(address)
            ip = getattr(ip, "ipv4_mapped", None) or ip
            assert ip.is_loopback, f"{name} listens at {address}"
        for process in processes:
            if process.name() in ("gcs_server", "raylet"):
                assert process.environ()["RAY_USAGE_STATS_ENABLED"] == "0"

    def test_nobody_without_the_token_gets_into_ray(self, start):
        hear(start("echo"), Ready)
        stranger = "import sys, ray; ray.init(address=sys.argv[1], configure_logging=False)"
        environ = {**os.environ, **self.cluster.environ, "RAY_AUTH_TOKEN": "0" * 64}
        ended = subprocess.run(
            [sys.executable, "-c", stranger, self.cluster.address_path.read_text()],
            env=environ,
            capture_output=True,
            timeout=100,
        )
        assert ended.returncode != 0
        assert b"uthenticat" in ended.stderr or b"token" in ended.stderr

    @pytest.mark.parametrize("part", ["gcs_server", "raylet"])
    def test_a_ray_that_loses_a_part_is_started_again(self, start, part):
        executor = start("echo")
        hear(executor, Ready)
        first = self.cluster.pid
        (process,) = [child for child in psutil.Process(first).children() if child.name() == part]
        process.kill()
        hear(executor, WorkerGone)
        hear(executor, Ready)
        assert self.cluster.pid not in (None, first)

    def test_a_ray_that_dies_is_started_again_also_under_workers_that_wait_for_it(self, start):
        executor = start("echo")
        hear(executor, Ready)
        killed = [self.cluster.pid]
        psutil.Process(self.cluster.pid).kill()
        hear(executor, WorkerGone)
        wait_until(lambda: executor.poll(time.monotonic()) == [] and executor.pid, "another one starts")
        killed.append(self.cluster.pid)
        psutil.Process(self.cluster.pid).kill()
        hear(executor, WorkerGone)
        hear(executor, Ready)
        assert self.cluster.pid not in (None, *killed)


def test_what_a_killed_ray_left_is_removed_for_the_next_of_the_same_daemon_and_no_other(tmp_path):
    cluster = RayCluster(tmp_path / "ray.address")
    head = psutil.Process(cluster.keep())
    folder = Path(head.cmdline()[-1])
    head.kill()
    head.wait(WAIT_S)
    RayCluster(tmp_path / "another.address")
    assert folder.stat().st_mode & 0o777 == 0o700
    RayCluster(tmp_path / "ray.address")
    assert not folder.exists()
    cluster.stop(WAIT_S)


def test_an_actor_with_another_version_refuses():
    from overpaint_backend.executors import ray_worker  # which imports Ray

    with pytest.raises(RuntimeError, match=f"is {PRODUCT_VERSION} on .* and 0.0.1 where its daemon runs"):
        ray_worker._RayWorker(worker_scripts.echo, WorkerSettings(), "0.0.1", "")


@pytest.mark.parametrize("address", ["192.168.1.5:6379", "10.0.0.1:1", "127.0.0.1:6379", "[fd00::1]:6379"])
def test_a_private_address_is_taken(address):
    assert cluster_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8:6379",
        "0.0.0.0:6379",
        "[::]:6379",
        "224.0.0.1:6379",
        "gpu-box:6379",
        "ray://10.0.0.1:10001",
        "10.0.0.1",
        "",
    ],
)
def test_other_addresses_are_refused(address):
    with pytest.raises(RequestError):
        cluster_address(address)


@pytest.mark.parametrize(
    "options",
    [
        ["--ray-address", "10.0.0.1:6379"],
        ["--executor", "ray", "--ray-address", "10.0.0.1:6379"],
        ["--executor", "elsewhere"],
        ["--workers", "0"],
    ],
    ids=" ".join,
)
def test_serve_refuses_what_does_not_go_together(options):
    assert CliRunner().invoke(app, ["serve", *options]).exit_code == 2


def test_without_ray_the_daemon_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DaemonError, match=r"pip install 'overpaint\[ray\]'"):
        RayCluster(tmp_path / "ray.address")

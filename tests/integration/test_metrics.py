"""Metrics of a real daemon, as Prometheus asks for them."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from prometheus_client import parser
from tests.integration.daemon_process import DaemonProcess, daemon_environ, free_port, wait_until

from overpaint_backend.metrics import loopback_address
from overpaint_protocol.errors import RequestError


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def daemon(tmp_path, port):
    with DaemonProcess.start(tmp_path, metrics=("127.0.0.1", port)) as daemon:
        yield daemon


def scrape(port, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def samples(text):
    families = parser.text_string_to_metric_families(text)
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_jobs_are_counted_by_how_they_ended_without_words_of_clients(daemon, port):
    client = daemon.client("zanzibar-session", editor="Zanzibar's editor")
    for job_id, prompt in (("zanzibar-1", "zanzibar"), ("zanzibar-2", "zanzibar fail")):
        client.submit(job_id, prompt=prompt, variants=2 if job_id == "zanzibar-1" else 1)
        client.until_over(job_id)
    done, failed = (
        ("overpaint_jobs_ended_total", "done", "fill"),
        ("overpaint_jobs_ended_total", "failed", "fill"),
    )
    text = wait_until(lambda: (text := scrape(port)) and failed in samples(text) and text, "both are counted")
    found = samples(text)
    assert found[done] == found[failed] == 1
    assert found["overpaint_jobs_submitted_total", "fill"] == 2
    assert found["overpaint_variants_total",] == 2
    assert found["overpaint_engine_seconds_total", "test-invert"] > 0
    assert found["overpaint_jobs", "running"] == found["overpaint_jobs", "queued"] == 0
    assert found["overpaint_clients",] == 1
    assert found["overpaint_worker_ready", "1"] == 1
    assert "zanzibar" not in text.lower()


def test_a_web_page_with_a_name_of_its_own_for_this_machine_is_refused(daemon, port):
    wait_until(lambda: "overpaint_uptime_seconds" in scrape(port), "it is served")
    with pytest.raises(urllib.error.HTTPError) as refused:
        scrape(port, Host=f"evil.example:{port}")
    refused.value.close()
    assert refused.value.code == 403
    assert scrape(port, Host="localhost")


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9187", "192.168.1.5:9187", "localhost:9187", "127.0.0.1", "127.0.0.1:0"]
)
def test_other_addresses_than_the_loopbacks_are_refused(address):
    with pytest.raises(RequestError):
        loopback_address(address)


def test_both_loopbacks_are_taken():
    assert loopback_address("127.0.0.1:9187") == ("127.0.0.1", 9187)
    assert loopback_address("[::1]:1") == ("::1", 1)


def test_a_port_that_is_taken_is_told(daemon, port, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    told = subprocess.run(
        [sys.executable, "-m", "overpaint_backend", "serve", "--metrics", f"127.0.0.1:{port}"],
        env=daemon_environ(other),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 1
    assert f"Metrics cannot be served at 127.0.0.1:{port}" in told.stderr


def test_a_daemon_without_metrics_starts_without_a_web_server(tmp_path):
    code = "import sys, overpaint_backend.daemon; print(sorted({'asyncio', 'http', 'wsgiref'} & set(sys.modules)))"
    told = subprocess.run(
        [sys.executable, "-c", code], env=daemon_environ(tmp_path), capture_output=True, text=True
    )
    assert told.stdout == "[]\n", told.stderr

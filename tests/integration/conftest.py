"""Daemons for the tests of this folder: one for all that leave it as they found it, and new ones for the others."""

from __future__ import annotations

import pytest
from tests.integration.daemon_process import DaemonProcess


@pytest.fixture(scope="session")
def shared_daemon(tmp_path_factory):
    """A daemon for tests that do it no harm."""
    with DaemonProcess.start(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture
def own_daemon(tmp_path):
    """A daemon to be mistreated."""
    with DaemonProcess.start(tmp_path) as daemon:
        yield daemon

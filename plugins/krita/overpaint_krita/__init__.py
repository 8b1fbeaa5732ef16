"""Overpaint for Krita. Importing it in Krita registers the docker and the actions; elsewhere it does nothing.

Krita shows the text of an error raised here in Settings > Configure Krita > Python Plugin Manager.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

_OLDEST_PYTHON = (3, 10)
_OLDEST_KRITA = (5, 2)


def _check_versions(krita_version):  # noqa: ANN001, ANN202 - has to run, to refuse, in Pythons of any age
    if sys.version_info < _OLDEST_PYTHON:
        raise RuntimeError(
            "Overpaint needs Krita with Python {}.{} or newer; this one has {}.{}. Install Krita from "
            "krita.org.".format(*_OLDEST_PYTHON, *sys.version_info[:2])
        )
    numbers = krita_version.split("-")[0].split(".")
    if tuple(int(number) for number in numbers[:2]) < _OLDEST_KRITA:
        raise RuntimeError(
            "Overpaint needs Krita {}.{} or newer; this is Krita {}. Update Krita, then start it "
            "again.".format(*_OLDEST_KRITA, krita_version)
        )


def _register():  # noqa: ANN202
    from krita import Krita

    app = Krita.instance()
    _check_versions(app.version())
    vendored = Path(__file__).parent / "_vendor"
    if vendored.is_dir():
        # last, so that nothing another plug-in imports can come from here
        sys.path.append(str(vendored))
    if find_spec("overpaint_client") is None or find_spec("overpaint_protocol") is None:
        raise RuntimeError(
            "Parts of Overpaint are missing from this folder: it is the source code, not the plug-in. "
            "Run “overpaint install krita”, or import the plug-in's zip file."
        )
    from .extension import register

    register(app)


# "pykrita" exists only where Krita loads plug-ins, not in kritarunner's scripts or on the host
if "pykrita" in sys.modules and find_spec("krita") is not None:
    _register()

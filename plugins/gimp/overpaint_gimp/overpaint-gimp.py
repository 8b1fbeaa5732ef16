#!/usr/bin/env python3
# ruff: noqa: N999 - GIMP wants the file named as its folder; the hyphen keeps it from shadowing the package
"""What GIMP runs: finds the package beside this file, and what it needs in ``_vendor``, and hands over."""

import sys
from pathlib import Path

_folder = Path(__file__).absolute().parent  # not resolved: an install may be links to the sources
sys.path[:0] = [str(_folder), str(_folder / "_vendor")]

from overpaint_gimp.plugin import main  # noqa: E402 - needs the path above

main(sys.argv)

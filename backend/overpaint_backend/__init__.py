"""The daemon's side of Overpaint: everything that runs outside the editors, on Python 3.11 or newer."""

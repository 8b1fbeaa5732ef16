"""Overpaint inside GIMP 3.

``overpaint-gimp.py`` is the file GIMP runs; it hands over to ``plugin``. Every call of the menu is a process of its
own: it connects to the daemon, does one job and ends.
"""

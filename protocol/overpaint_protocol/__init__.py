"""Overpaint's wire protocol, version 1: see ``protocol/README.md``, which is authoritative.

Stdlib only (msgpack is bundled by the installer), Python 3.10 or newer: it runs inside the editors.
"""

"""The command line: ``overpaint``."""

"""``python -m overpaint_backend``: the same as ``overpaint``."""

from overpaint_backend.cli.app import main

if __name__ == "__main__":
    main()

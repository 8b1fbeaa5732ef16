"""For tests only (never bundled): the in-memory editor and the contract every editor is held to."""

"""Settings under a name, written by the artist: a TOML file each. Knows the protocol and the catalog of models alone."""

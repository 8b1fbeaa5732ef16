"""Fill engines: what they promise, how they are found, and the one that needs no model."""

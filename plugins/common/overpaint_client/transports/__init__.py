"""How messages get to the daemon and back without ever blocking the editor."""

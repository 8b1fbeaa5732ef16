"""Where engines run: in a process of their own, so that one that crashes or hangs does not take the daemon along."""

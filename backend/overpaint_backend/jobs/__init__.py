"""Jobs and the order they run in, without sockets, processes or a clock."""

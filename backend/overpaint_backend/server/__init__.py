"""The daemon towards its clients: sockets, sessions, and what each message does."""

"""What every editor's plug-in shares: session, context planning, controller. Stdlib and overpaint_protocol only."""

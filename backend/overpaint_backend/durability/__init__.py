"""What lets jobs and results outlive the daemon: a journal, a spool of pixels, and who decides what stays in them."""

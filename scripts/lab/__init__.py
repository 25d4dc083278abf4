"""Lab hosts: Debian machines with systemd in Docker, reached over SSH like any other host."""

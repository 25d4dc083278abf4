"""Nova on one machine without root and without Docker: `make run`, and the Redis of the tests."""

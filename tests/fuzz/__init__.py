"""Random requests to every operation that is served: a minute in the tests, `python -m tests.fuzz --seconds 3600` for long."""

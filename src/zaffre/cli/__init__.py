"""The command line: a client like any other, except that `up` becomes the supervisor."""

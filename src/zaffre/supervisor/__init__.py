"""What `zaffre up` is: it holds the lock and the listening sockets, and starts, watches, adopts and stops the rest.

Standard library only, and it imports nothing else of zaffre: it stays small, and nothing the application does can
take it along. The application is its child; nginx stands in a session of its own, outlives it, and is adopted by the
next one.
"""

"""The ASGI application: what happens to a request, in order."""

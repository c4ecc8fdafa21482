"""One folder per protocol a client speaks. Each only translates and calls a service; none imports another."""

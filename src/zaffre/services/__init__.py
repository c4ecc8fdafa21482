"""What the platform does, in its own words: no HTTP, no SQL strings of its own outside the store's tables."""

"""Controllers: one loop per active thing. They load, act and apply, and never act inside a transaction."""

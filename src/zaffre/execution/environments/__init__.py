"""From an environment asset to an interpreter that is ready to use."""

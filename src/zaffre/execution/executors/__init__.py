"""Where processes start: one contract, one implementation a place."""

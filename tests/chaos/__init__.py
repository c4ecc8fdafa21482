"""Tests that kill parts of a running server, or let its clients race."""

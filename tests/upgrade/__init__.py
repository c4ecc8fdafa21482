"""Homes that an older Zaffre left behind, opened by this one."""

"""Tokens for every client: cloud metadata, the managed-identity endpoint, keys for verification."""

from zaffre.protocols.login.routes import error_form, routes

__all__ = ["error_form", "routes"]

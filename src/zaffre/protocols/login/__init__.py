"""Signing in: cloud metadata, the managed-identity endpoint, OAuth and OIDC, and the keys and principals behind them."""

from zaffre.protocols.login.oauth import error_form
from zaffre.protocols.login.routes import routes

__all__ = ["error_form", "routes"]

"""Tracking: experiments, runs and logged models, whoever made them."""

from zaffre.services.tracking.service import Tracking

__all__ = ["Tracking"]

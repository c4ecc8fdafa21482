"""Tracking's SQL: experiments, runs with their tags, params and metrics, logged models and what links them."""

"""Rows of MLflow's AI gateway."""

"""Tracking: the only code that talks to MLflow."""

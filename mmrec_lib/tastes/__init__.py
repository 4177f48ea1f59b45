"""Tastes of users: segments of similar ones, facts that connect items, and both in words."""

"""Tastes of users: segments of similar ones, and texts made of facts."""

"""Features: interactions, splits, profiles and contents → training snapshots."""

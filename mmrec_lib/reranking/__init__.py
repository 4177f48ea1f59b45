"""Re-ranking: from a few hundred candidates a user to the list that is shown.

Kernels are compiled when a step that needs them first runs.
"""

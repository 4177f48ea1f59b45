"""The second stage: a network that orders the candidates of the first stage from everything that is known."""

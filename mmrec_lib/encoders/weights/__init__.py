"""Model directories: packaged weights, conversion, placing and loading."""

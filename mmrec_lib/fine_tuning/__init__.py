"""Training on the store: tables of labels and behaviour → recipes and adapted encoders."""

"""Rules of what may be shown to whom, decided before selection: markets, ages, block lists, business rules, pins."""

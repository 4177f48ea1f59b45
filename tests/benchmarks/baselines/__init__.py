"""Reference models of `make bench-quality`: one module a family, each with its source. No product code."""

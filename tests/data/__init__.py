"""The sample store, its generator, and small stores for tests."""

"""The conformance kit: what every architecture must do, as tests that its author runs.

`pytest --zoo-arch NAME`, or `zoo plugins check NAME`. The checks are in zoo.testing.checks, small models in
zoo.testing.models; this package needs pytest (extra `testing`).
"""

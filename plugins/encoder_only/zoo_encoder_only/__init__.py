"""Encoder-only architectures for Zoo, one module each."""

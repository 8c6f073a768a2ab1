"""Encoder-decoder architectures for Zoo. One module an architecture; see each for its paper."""

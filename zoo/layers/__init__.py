"""Building blocks for architectures: torch modules and functions, nothing else. Axes are named in docs/shapes.md."""

"""The HTTP surface, a module a subject; each has a list `routes`."""

"""Training by several processes together, its ranks, on one machine or many: on torch's own engine."""

"""Training: settings, data, the loop, and fine-tuning on top of them."""

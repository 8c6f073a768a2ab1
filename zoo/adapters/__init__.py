"""Adapters: what LoRA learnt beside a checkpoint, in PEFT's own files, bound to the weights that it was learnt beside."""

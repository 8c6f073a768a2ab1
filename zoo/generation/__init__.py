"""Generation: how a model that writes goes on from a prompt, one token after the other."""

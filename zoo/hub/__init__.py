"""Where checkpoints come from and go to: the catalogue, hubs, and the store on this machine."""

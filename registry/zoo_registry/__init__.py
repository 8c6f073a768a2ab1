"""What checkpoints exist and where: the curated catalogue, and (extra `server`) a hub to run yourself."""

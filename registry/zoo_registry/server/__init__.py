"""A hub to run yourself: the Hugging Face Hub's HTTP API over a folder of objects and one SQLite file."""

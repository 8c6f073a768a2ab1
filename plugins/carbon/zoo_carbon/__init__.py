"""What training emits: counted with codecarbon while it runs, or estimated before."""

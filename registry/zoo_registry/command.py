"""`zoo serve`: run a registry on this machine."""

from pathlib import Path

import click

import zoo


@click.command(short_help="Run a hub of your own.")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for all it keeps."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8900, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--token", help="The token that may write; without it, one is made at the first start.")
def serve(data: Path, host: str, port: int, token: str | None) -> None:
    """Run a hub of your own: it keeps checkpoints in a folder, and speaks the Hugging Face Hub's protocol.

    Anyone who reaches it may read what is public; the token is needed to write, and to read what is private.
    Only its hash is kept. End the registry with Ctrl-C.

    \b
    Example: zoo serve --data ./hub
             HF_ENDPOINT=http://127.0.0.1:8900 HF_TOKEN=... zoo push ./my-bert me/my-bert
    """
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise click.BadParameter("use printable ASCII characters without spaces.", param_hint="--token")
    try:
        from zoo_registry.server.starting import start
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package in ("", "zoo", "zoo_registry"):
            raise  # our own fault, not a missing extra
        raise click.ClickException(
            f'The registry server needs {package}, which is not installed. Try: pip install "zoo-registry[server]"'
        ) from missing
    start(data, host, port, token)


@zoo.hookimpl
def zoo_commands(cli: click.Group) -> None:
    """Add `zoo serve`."""
    cli.add_command(serve)

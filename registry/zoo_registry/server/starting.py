"""Starting a registry from the command line, and saying on the terminal what its user must know."""

import ipaddress
import socket
from pathlib import Path

import click
from sqlalchemy.exc import DatabaseError
from starlette.applications import Starlette

from zoo_registry.server.app import create_app
from zoo_registry.server.auth import new_token
from zoo_registry.server.serving import endpoint_of, listen, serve


def start(data: Path, host: str, port: int, token: str | None) -> None:
    """Serve the registry in `data` until a signal.

    token: the one that may write from now on; None keeps the known one, or makes one.
    Raises click.ClickException if the address or the folder can't be used.
    """
    listener = _listen(host, port)
    with listener:
        app = _open(data, token)
        if token is None:
            _settle_token(app)
        if not _is_loopback(listener):
            click.echo("Tokens travel unencrypted: let other machines come through an HTTPS proxy.", err=True)
        serve(app, listener, lambda: click.echo(f"Zoo registry at {endpoint_of(listener)} (data: {data})"))


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(f"Can't listen on {host}:{port}: {reason}. Try: another --port or --host") from error


def _open(data: Path, token: str | None) -> Starlette:
    try:
        return create_app(data, token)
    except OSError as error:
        raise click.ClickException(
            f"Can't keep data in {data}: {error.strerror}. Try: another --data folder"
        ) from error
    except DatabaseError as error:
        raise click.ClickException(
            f"{data / 'registry.sqlite'} is not a registry's database: {error.orig}. Try: another --data folder"
        ) from error


def _settle_token(app: Starlette) -> None:
    tokens = app.state.registry.tokens
    if tokens.any():
        click.echo("The known token stays valid; --token replaces it.", err=True)
        return
    token = new_token()
    tokens.replace(token)
    click.echo(f"Token that may write (shown only now, keep it): {token}", err=True)


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback

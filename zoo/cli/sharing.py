"""Commands that make a checkpoint fit to be shared: converted, signed."""

from __future__ import annotations

import click

from zoo.cli.output import endpoint_option, json_option, print_json, revision_option, token_option, transfer_progress


@click.command("convert")
@click.argument("ref", metavar="REF")
@click.option("--out", "target", required=True, metavar="FOLDER", help="Where the checkpoint goes; new or empty.")
@click.option(
    "--allow-pickle-conversion", is_flag=True, help="Let a process without network and rights read the pickles."
)
@click.option("--max-shard-size", default="5GB", show_default=True, help="Largest file of weights.")
@revision_option
@endpoint_option
@token_option
def convert_command(
    ref: str,
    target: str,
    allow_pickle_conversion: bool,
    max_shard_size: str,
    revision: str | None,
    endpoint: str | None,
    token: str | None,
) -> None:
    """Turn a checkpoint whose weights are pickles (pytorch_model.bin) into one with safetensors.

    REF is a folder, or a repository whose pickles are fetched beside FOLDER and removed again.

    \b
    Example: zoo convert org/old-bert --out ./old-bert --allow-pickle-conversion
    """
    from zoo.converting import convert

    with transfer_progress("fetched") as watcher:
        folder = convert(
            ref,
            target,
            allow_pickle_conversion=allow_pickle_conversion,
            revision=revision,
            endpoint=endpoint,
            token=token,
            max_shard_size=max_shard_size,
            watcher=watcher,
        )
    click.echo(f"{folder}: converted to safetensors, and loaded strictly")


@click.command("sign")
@click.argument("ref", metavar="REF")
@click.option("--key", required=True, metavar="FILE", help="Private key: PEM, elliptic curve (P-256, P-384, P-521).")
@click.option("--message", "-m", help="Message of the commit.")
@endpoint_option
@token_option
@json_option
def sign_command(
    ref: str, key: str, message: str | None, endpoint: str | None, token: str | None, as_json: bool
) -> None:
    """Sign a checkpoint's files by OpenSSF model signing: offline, with a key of your own. Needs the extra `sign`.

    A folder gets the file model.sig; a repository gets it as a commit.

    \b
    Example: zoo sign ./my-bert --key key.pem
             zoo push ./my-bert me/my-bert
    """
    from zoo.signing import sign

    with transfer_progress("pushed") as watcher:
        signed = sign(ref, key, endpoint=endpoint, token=token, message=message, watcher=watcher)
    if as_json:
        commit = signed.landed.commit if signed.landed else None
        print_json({"ref": ref, "files": signed.files, "path": signed.path and str(signed.path), "commit": commit})
        return
    where = f"{ref} at {signed.landed.commit[:12]}" if signed.landed else str(signed.path)
    click.echo(f"{where}: {signed.files} files signed")

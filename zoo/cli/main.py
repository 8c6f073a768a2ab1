"""`zoo`: the group of all commands. They are imported when they are used, so that help is quick."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from importlib import import_module
from typing import Any

import click

from zoo import __version__
from zoo.cli.output import printable
from zoo.errors import ZooError, ZooWarning
from zoo.training.distributed import ranks

# Where each command is. Kept by family, as help shows them.
_FAMILIES = {
    "Checkpoints": ("zoo.cli.checkpoints", ("pull", "push", "search")),
    "Store": ("zoo.cli.store", ("list", "show", "verify", "rm", "prune")),
    "Sharing": ("zoo.cli.sharing", ("convert", "sign")),
    "Projects": ("zoo.cli.projects", ("lock", "sync", "plan")),
    "Running models": ("zoo.cli.running", ("run",)),
    "Models": ("zoo.cli.models", ("embed",)),
    "Training": ("zoo.cli.training", ("finetune", "eval")),
    "Training new models": ("zoo.cli.pretraining", ("pretrain", "distill")),
    "Architectures and plugins": ("zoo.cli.plugins", ("arch", "plugins")),
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own, or in plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names of all commands; reads plugins' metadata, imports none."""
        own = [name for _, names in _FAMILIES.values() for name in names]
        return own + [name for name in _plugin_commands() if name not in own]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and give one command."""
        for module, names in _FAMILIES.values():
            if name in names:
                command: click.Command = getattr(import_module(module), f"{name}_command")
                return command
        if name not in self.commands and name in _plugin_commands():
            from zoo import host

            host.get_command(name, self)
        return self.commands.get(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by family; those of plugins with the distribution they come from."""
        for family, (_, names) in _FAMILIES.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(family):
                formatter.write_dl([(name, command.get_short_help_str(70)) for name, command in commands if command])
        from_plugins = _plugin_commands()
        if from_plugins:
            with formatter.section("From plugins"):
                formatter.write_dl(
                    [(name, f"(of {owner}; see zoo {name} --help)") for name, owner in from_plugins.items()]
                )


def _plugin_commands() -> dict[str, str]:
    from zoo import host

    return {plugin.name: plugin.distribution for plugin in host.plugins("zoo.commands")}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="zoo")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Get, run, fine-tune and share transformer checkpoints.

    \b
    Example: zoo pull all-minilm-l6-v2
             zoo embed all-minilm-l6-v2 "how do I read a zip archive"
    """
    ctx.obj = {"debug": debug}


def main() -> None:
    """Run the command line. Exit status: 0 done, 1 a ZooError, 2 wrong usage, 130 interrupted."""
    # Our own progress is shown instead.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.exit(_run())


def _run() -> int:
    try:
        warnings.formatwarning = _format_warning
        status = cli(prog_name="zoo", standalone_mode=False)
    except ZooError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        if ranks.may_tell():
            click.echo(f"Error: {printable(str(error))}", err=True)
        return 1
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        if ranks.may_tell():
            click.echo("Interrupted.", err=True)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; writing more at exit would only raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0  # click gives back what a command exits with


_usual_format = warnings.formatwarning


def _format_warning(message: Warning | str, category: type[Warning], *place: Any, **rest: Any) -> str:
    """Give our own warnings as sentences; a place in the code says nothing to a user."""
    own = issubclass(category, ZooWarning)
    return f"Warning: {printable(str(message))}\n" if own else _usual_format(message, category, *place, **rest)


if __name__ == "__main__":
    main()

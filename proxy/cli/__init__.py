"""The ``splice`` command: what it can be asked for, and where each answer is."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from collections.abc import Sequence
from functools import partial

from proxy import __version__
from proxy.cli import directory_arguments, ledger_arguments

_DESCRIPTION = "An LLM gateway: one endpoint, four dialects, many upstream accounts."
_CONFIG_HELP = (
    "the configuration file; else $SPLICE_CONFIG, ./config.toml, "
    "$XDG_CONFIG_HOME/splice/config.toml, /etc/splice/config.toml"
)


EX_CONFIG = 78
"""sysexits.h: systemd is told not to start the daemon again on it, since trying again would not help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0, or 1 for a failure; bad usage exits with 2."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    # Imported by name because the daemon's imports cost more than most commands do.
    try:
        command = importlib.import_module(f"proxy.cli.{args.command}")
    except ImportError as error:
        _complain(
            f"cannot load {error.name or 'a module'} ({error}), expected what requirements.lock names, built for this Python; "
            "install it again: `make install`, or `make setup` in a checkout"
        )
        return EX_CONFIG if args.command == "serve" else 1
    try:
        code: int = command.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; nor may the interpreter's last flush complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    return code


def _complain(message: str) -> None:
    # Not output's: that needs orjson, which may be what is missing.
    print(f"splice: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="splice", description=_DESCRIPTION)
    version = f"splice {__version__} (python {platform.python_version()})"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument("-c", "--config", metavar="FILE", help=_CONFIG_HELP)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    demo = _add(commands, "demo", "the gateway with a built-in provider: no keys, no cost")
    demo.add_argument("--port", type=_port, help="default: the next free one from 8080")
    _add(commands, "init", "write a config.toml from the provider keys in the environment")
    _add(commands, "serve", "run the gateway")
    check = _add(commands, "check", "validate the configuration")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument("--online", action="store_true", help="ask every account, at no cost")
    doctor = _add(commands, "doctor", "look for what may keep the gateway from working")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    config = _add(commands, "config", "print every setting in effect and where it comes from")
    config.add_argument("--json", action="store_true", help="print JSON")
    models = _add(commands, "models", "list the names that can be called, and their prices")
    models.add_argument("--json", action="store_true", help="print JSON")
    prices = _add(commands, "prices", "show what a model costs and what its key pays")
    actions = prices.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = _add(actions, "show", "show what a model costs, what its key pays, and who says so")
    show.add_argument("model", metavar="MODEL", help="a public name, or PROVIDER/MODEL")
    show.add_argument("--json", action="store_true", help="print JSON")
    taken = _add(actions, "import", "put a price list of another maker before the bundled one")
    taken.add_argument("file", metavar="FILE", help="genai-prices' data.json, or LiteLLM's table")
    status = _add(commands, "status", "how the daemon is; exit 1 if nobody could answer a call")
    status.add_argument("--json", action="store_true", help="print JSON")
    reload = _add(commands, "reload", "have the daemon read its configuration again")
    reload.add_argument("--json", action="store_true", help="print JSON")
    upgrade = _add(
        commands, "upgrade", "have the program as it is installed now replace the daemon"
    )
    upgrade.add_argument("--json", action="store_true", help="print JSON")
    _add_accounts(
        _add(commands, "accounts", "how the upstream accounts are, and what to do about it")
    )
    requests = _add(commands, "requests", "the calls that have ended, or run; and how to end one")
    ledger_arguments.requests(requests)
    _add_requests(requests)
    ledger_arguments.add(partial(_add, commands))
    for name, says, actions_of in (
        ("keys", "who may call, and what they may do", directory_arguments.keys),
        ("teams", "wallets that keys share", directory_arguments.teams),
        ("credits", "what is paid into the wallets", directory_arguments.credits_),
    ):
        under = _add(commands, name, says)
        within = under.add_subparsers(dest="action", metavar="ACTION", required=True)
        actions_of(partial(_add, within))
    directory_arguments.statement(
        _add(commands, "statement", "what a key or a team was charged in a month")
    )
    return parser


def _add_accounts(accounts: argparse.ArgumentParser) -> None:
    accounts.add_argument("--json", action="store_true", help="print JSON")
    actions = accounts.add_subparsers(dest="action", metavar="ACTION")
    _with_json(_add(actions, "list", "all accounts, which is also what no action does"))
    for action, says in (
        ("why", "what benches an account, since and until when, and on what evidence"),
        ("test", "ask an account something that costs nothing"),
        ("disable", "send nobody new to an account until it is enabled or the daemon restarts"),
        ("enable", "send calls to a disabled account again"),
        ("clear", "forget what benches an account"),
    ):
        command = _with_json(_add(actions, action, says))
        command.add_argument("name", metavar="NAME")
        if action == "test":
            command.add_argument("--clear", action="store_true", help="clear it if it answers")


def _add_requests(requests: argparse.ArgumentParser) -> None:
    requests.add_argument("--in-flight", action="store_true", help="those that run, oldest first")
    actions = requests.add_subparsers(dest="action", metavar="ACTION")
    cancel = _with_json(_add(actions, "cancel", "end a request that runs; its client is told"))
    cancel.add_argument("id", metavar="ID")


def _with_json(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    # Suppressed when absent, so that it does not undo the one before the action.
    command.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON"
    )
    return command


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, says: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=says, description=says.capitalize() + ".")
    # Suppressed when absent, so that it does not undo the one before the command.
    command.add_argument(
        "-c", "--config", metavar="FILE", default=argparse.SUPPRESS, help=_CONFIG_HELP
    )
    return command


def _port(text: str) -> int:
    # The admin listener takes the port after it.
    if not text.isdecimal() or not 0 < int(text) < 65_535:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a port from 1 to 65534")
    return int(text)

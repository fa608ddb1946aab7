"""What the commands on keys, teams and credits take; apart from them, because importing those costs more than most commands do."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

Adder = Callable[[str, str], argparse.ArgumentParser]
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_WALLET = "a key, or team:NAME"


def keys(add: Adder) -> None:
    """Add the actions on keys; ``add`` makes one of a name and what it does."""
    create = _named(add("create", "make a key, which is shown this once"))
    create.add_argument(
        "--hash", default=argparse.SUPPRESS, metavar="sha256:…", help="the key exists elsewhere"
    )
    create.add_argument("--credit-usd", default=argparse.SUPPRESS, metavar="X", help="paid in")
    _of_keys(create)
    listed = _with_json(add("list", "all keys of the database"))
    listed.add_argument("--team", metavar="NAME", help="of this team only")
    _named(add("show", "everything about a key but the key itself"))
    _of_keys(_named(add("update", "change what a key may do; none takes a limit away")))
    disable = _named(add("disable", "refuse the calls of a key until it is enabled"))
    disable.add_argument("--now", action="store_true", help="end those that run, too")
    _named(add("enable", "take the calls of a disabled key again"))
    _named(add("revoke", "let nothing open a key any more, for good"))
    rotate = _named(add("rotate", "make another key for the same name, which is shown this once"))
    rotate.add_argument(
        "--grace", default="24h", help="how long the old one works on; 24h by default"
    )


def teams(add: Adder) -> None:
    """The same for teams."""
    create = _named(add("create", "make a team"))
    create.add_argument("--credit-usd", default=argparse.SUPPRESS, metavar="X", help="paid in")
    _of_wallets(create)
    _with_json(add("list", "all teams"))
    _named(add("show", "everything about a team"))
    _of_wallets(_named(add("update", "change what a team may do; none takes a limit away")))


def credits_(add: Adder) -> None:
    """The same for credits."""
    booked = _with_json(add("add", "pay in, or take back what is below 0"))
    booked.add_argument("wallet", metavar="KEY", help=_WALLET)
    booked.add_argument("usd", metavar="USD")
    booked.add_argument("--note", help="to be shown beside it")
    booked.add_argument("--ref", metavar="ID", help="booked once, however often it is sent")
    for action, says in (
        ("show", "what was paid in, what was charged and what is left"),
        ("history", "every credit, the last first"),
    ):
        _with_json(add(action, says)).add_argument("wallet", metavar="KEY", help=_WALLET)


def statement(parser: argparse.ArgumentParser) -> None:
    """Add what a statement takes."""
    parser.add_argument("wallet", metavar="KEY", help=_WALLET)
    parser.add_argument("--month", type=_month, required=True, metavar="2026-04", help="in UTC")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV")
    form.add_argument("--json", action="store_true", help="print JSON")


def _of_keys(parser: argparse.ArgumentParser) -> None:
    _option(parser, "--team", "NAME", "draw on the wallet of this team as well")
    _option(parser, "--models", "GLOBS", "which models it may call, with commas", _words)
    _option(parser, "--rpm", "N", "requests a minute", _count)
    _option(parser, "--tpm", "N", "tokens a minute", _count)
    _option(parser, "--concurrency", "N", "requests at a time", _count)
    _of_wallets(parser)
    _option(parser, "--price-multiplier", "X", "times the price of the models")
    _option(parser, "--expires", "DATE", "the first moment at which it is refused, in UTC")
    _option(parser, "--allow-ip", "CIDR", "from where it may be used, with commas", _words)
    _option(parser, "--native", "PATHS", "calls, or all: any path of a provider")


def _of_wallets(parser: argparse.ArgumentParser) -> None:
    _option(parser, "--budget-usd", "X", "what may be spent in a period")
    _option(parser, "--budget-period", "PERIOD", "day, week, month or total")
    parser.add_argument(
        "--prepaid",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,
        help="spend only what was paid in, and the allowance",
    )
    _option(parser, "--allowance-usd", "X", "what may be spent each month before the credit")


def _option(
    parser: argparse.ArgumentParser,
    flag: str,
    shown: str,
    says: str,
    kind: Callable[[str], object] = str,
) -> None:
    parser.add_argument(
        flag,
        type=lambda text: None if text == "none" else kind(text),
        default=argparse.SUPPRESS,
        metavar=shown,
        help=says,
    )


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("name", metavar="NAME")
    return _with_json(parser)


def _with_json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number, or none")
    return int(text)


def _month(text: str) -> str:
    if not _MONTH.fullmatch(text) or text.startswith(("0000", "9999")):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a month such as 2026-11")
    return text

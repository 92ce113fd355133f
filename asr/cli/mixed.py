"""A parser for commands of commands, such as `asr lm train`."""

from collections.abc import Sequence
from typing import Any

from asr.cli.main import Parser


class MixedParser(Parser):
    """Takes positionals on both sides of a flag, as `TEXT --out LM train.epochs=3`, like the parser at the top."""

    _inside = False

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return (namespace, what is left), as argparse does."""
        if self._inside or "--" in (args or ()):  # after which it would forget the `--`
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False

"""`asr plot`: pictures of what a model does inside."""

import argparse
from pathlib import Path

from asr.cli.mixed import MixedParser
from asr.cli.outputs import refuse_folder, refuse_overwriting
from asr.errors import EXIT_DONE, DataError, UsageError

HELP = "draw what a model does inside"
SUBCOMMANDS = {"gates": "draw gates and memory of a recurrent layer over an utterance, and what is read from them"}
MAX_SECONDS = 60.0  # of longer recordings a frame is narrower than a dot of the picture
CELLS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the pictures of `asr plot` and their arguments."""
    pictures = parser.add_subparsers(dest="picture", required=True, metavar="PICTURE", parser_class=MixedParser)
    for name, text in SUBCOMMANDS.items():
        _ARGUMENTS[name](pictures.add_parser(name, help=text, description=text, allow_abbrev=False))


def _add_gates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME|FILE|RUN", help="a bundled model, a model file or a run folder")
    parser.add_argument("audio", type=Path, metavar="AUDIO", help="a recording of one utterance")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.png", help="the picture (.png, .svg, .pdf)")
    parser.add_argument("--layer", type=int, metavar="N", help="counted from 1, the lowest (default: the highest)")
    parser.add_argument(
        "--direction", default="forwards", choices=("forwards", "backwards"), help="of the layer (default: forwards)"
    )
    parser.add_argument(
        "--cells",
        type=int,
        default=CELLS,
        metavar="N",
        help=f"show at most so many, those whose gate for keeping moves most (default: {CELLS})",
    )


def run(args: argparse.Namespace) -> int:
    """Draw the picture that was named and return the exit code."""
    _RUN[args.picture](args)
    return EXIT_DONE


def _gates(args: argparse.Namespace) -> None:
    from asr.plots.picture import picture_format, require_matplotlib
    from asr.recognizer import Recognizer, as_source, resolve_model

    picture_format(args.out)
    refuse_folder(args.out)
    if args.cells < 1:
        raise UsageError(f"--cells {args.cells}: nothing to draw; give 1 or more")
    require_matplotlib()  # before the work, not after it
    refuse_overwriting(args.out, [resolve_model(args.model), args.audio])
    source = as_source(args.audio)
    if (seconds := source.measure()) > MAX_SECONDS:
        raise DataError(f"{args.audio}: lasts {seconds:.0f} s; a picture shows {MAX_SECONDS:.0f} s: cut a piece out")
    recognizer = Recognizer.load(args.model)
    encoder = recognizer.model.config.encoder
    layer = encoder.layers if args.layer is None else args.layer

    from asr.plots.gates import draw_gates
    from asr.plots.passage import listen

    passage = listen(recognizer, source.read(recognizer.model.sample_rate), layer=layer, direction=args.direction)
    title = f"{args.model}, {args.audio.name}: layer {layer} of {encoder.layers}, {args.direction}, cell {encoder.cell}"
    draw_gates(passage, args.out, cells=args.cells, title=title)


_ARGUMENTS = {"gates": _add_gates}
_RUN = {"gates": _gates}

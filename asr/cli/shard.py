"""`asr shard`: a manifest and its audio → tar shards to train on, for corpora of any size."""

import argparse
import sys
from pathlib import Path

from asr.errors import EXIT_DONE, UsageError

HELP = "put a manifest and its audio into tar shards to train on"
_MAX_SHARD_MB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asr shard`."""
    parser.epilog = "Check the manifest with asr check before: shards are not checked again."
    parser.add_argument("manifest", metavar="MANIFEST", help="utterances (.jsonl)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="new folder for the shards")
    parser.add_argument("--shard-mb", type=int, default=256, metavar="N", help="size of a shard, MB (default: 256)")
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="resample to this (default: as recorded)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that encode audio (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Write the shards and say what they hold."""
    from asr.cli.progress import progress_bar
    from asr.data.manifest import read_manifest
    from asr.data.sharding import write_shards

    if not 1 <= args.shard_mb <= _MAX_SHARD_MB:
        raise UsageError(f"--shard-mb {args.shard_mb}: give 1 to {_MAX_SHARD_MB}")
    if args.sample_rate is not None and not 1000 <= args.sample_rate <= 768_000:
        raise UsageError(f"--sample-rate {args.sample_rate}: give a rate in Hz, for example 16000")
    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: must be at least 1")
    utterances = read_manifest(args.manifest)
    with progress_bar("shard", unit="utterances") as progress:
        done = write_shards(
            utterances,
            args.out,
            shard_bytes=args.shard_mb * 1_000_000,
            sample_rate=args.sample_rate,
            jobs=args.jobs,
            progress=progress,
        )
    if done.rounded:
        print(f"{done.rounded} of {done.utterances} utterances were rounded to 16 bits", file=sys.stderr)
    if done.without_text:
        print(f"{done.without_text} utterances have no text: these shards cannot be trained on", file=sys.stderr)
    print(
        f"{args.out}: {done.utterances} utterances, {done.audio_seconds / 3600:.2f} h at {done.sample_rate} Hz in"
        f" {done.shards} shards of {done.num_bytes / 1e6:.1f} MB in all"
    )
    return EXIT_DONE

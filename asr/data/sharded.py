"""Training from tar shards: batches group by group of shards, so that only an index of the corpus is in memory.

In each epoch the shards are shuffled, and so many in a row make a group.  The utterances of a group are planned as
those of a manifest are; partners and followers come from the group; the groups come one after another.
All of it follows from (seed, epoch), so a step can be found without reading what comes before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from asr.audio.augment import NoiseFolder, augment_waveform
from asr.audio.resample import Waveform
from asr.data.loader import (
    AugmentConfig,
    Batch,
    LoaderConfig,
    batch_loader,
    drawn_partners,
    joined_text,
    make_batch,
    make_partners,
    planner,
)
from asr.data.plan import Indices
from asr.data.shard_index import ShardIndex
from asr.data.shard_reader import ShardReader
from asr.data.shard_row import ShardedUtterance
from asr.data.steps import Part, Parts, StepPlan, heaviest_parts
from asr.errors import DataError, InputError
from asr.features.mixing import Partners
from asr.randomness import identity_seeds, stream, utterance_seed
from asr.text.tokenizer import Tokenizer
from asr.units import Seconds

_TRIED_EPOCH = 1  # the first one that is not sorted by exact length
_TRIED_GROUPS = 256  # of the longest utterances; a million utterances are enough to meet a heavy batch
_SHOWN = 5  # utterances in a message


@dataclass(frozen=True)
class _EpochParts:
    """The parts of a rank in an epoch, planned group by group as they are asked for."""

    data: "ShardedData"
    epoch: int
    rank: int
    ranks: int
    first_step: int

    def __len__(self) -> int:
        accumulate = self.data.loader.accumulate
        return accumulate * max(0, int(self.data.group_steps(self.epoch)[-1]) - self.first_step)

    def __iter__(self) -> Iterator[Part]:
        ends = self.data.group_steps(self.epoch)
        for group in range(int(np.searchsorted(ends, self.first_step, side="right")), len(ends)):
            plan = self.data.group_plan(self.epoch, group)
            skip, accumulate = max(0, self.first_step - plan.first_step), self.data.loader.accumulate
            yield from plan.parts(rank=self.rank, ranks=self.ranks, accumulate=accumulate, skip=skip)


class ShardedData(Dataset[Batch]):
    """The utterances of shards as a `BatchSource`: their batch plan, and how a batch is made of them.

    Everything random comes from (seed, epoch, identity of the utterance, view).
    """

    def __init__(
        self,
        index: ShardIndex,
        tokenizer: Tokenizer,
        sample_rate: int,
        loader: LoaderConfig,
        augment: AugmentConfig,
        *,
        seed: int,
        views: int = 1,
    ) -> None:
        """Raises: UsageError, DataError if the shards cannot be trained on."""
        self.index, self.sample_rate, self.num_new = index, sample_rate, len(index)
        self.loader, self.augment, self.seed, self.views = loader, augment, seed, views
        self.reader = ShardReader(index, cache_mb=loader.shard_cache_mb)
        folder = augment.waveform.noise_folder
        self.noise = NoiseFolder(Path(folder), sample_rate) if folder else None
        self._tokenizer = tokenizer
        self._planner = planner(loader, augment, sample_rate)
        self._ends: tuple[int, Indices] | None = None  # of the epoch asked for last
        self._group: tuple[tuple[int, int], Indices] | None = None
        self._prepared: tuple[int, int] | None = None
        self._longest = longest_samples(index, loader, augment)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def audio_seconds(self) -> Seconds:
        """All audio, as recorded."""
        return self.index.audio_seconds

    def waveforms(self) -> Iterator[Waveform]:
        """Yield the waveform of each utterance, as recorded."""
        for row in range(len(self)):
            yield self.reader.waveform(row, self.reader.read(row), self.sample_rate)

    def labels(self, chain: Sequence[int]) -> Indices:
        """Return the token ids (U) of an utterance and those that follow it.  Raises: DataError naming it."""
        return self._labels([self.reader.read(row) for row in chain])

    def parts(self, epoch: int, *, rank: int, ranks: int, first_step: int = 0) -> Parts:
        """Return what one rank works through in an epoch: `accumulate` parts for each step from `first_step`."""
        return _EpochParts(self, epoch, rank, ranks, first_step)

    def heaviest(self, *, rank: int, ranks: int) -> Iterator[Batch]:
        """Yield a rank's batches of an epoch that need the most memory, to be tried before step 1."""
        longest = np.maximum.reduceat(self.index.records["samples"], self.index.firsts[:-1])  # of each shard
        of_group = np.array([longest[shards].max() for shards in self.groups(_TRIED_EPOCH)])
        groups = np.argsort(of_group, kind="stable")[::-1][:_TRIED_GROUPS].tolist()
        plans = (self._plan(_TRIED_EPOCH, group) for group in groups)
        for part in heaviest_parts(plans, rank=rank, ranks=ranks, accumulate=self.loader.accumulate):
            yield self[part]

    def loader_for(self, parts: Parts, *, pin: bool = False) -> "DataLoader[Batch | InputError]":
        """Return a loader that yields the batches of `parts` in order, or the error in place of one."""
        return batch_loader(_Prepared(self), parts, self.loader.workers, pin=pin)

    def groups(self, epoch: int) -> list[Indices]:
        """Return the shards of each group of an epoch, in the order in which the groups come."""
        order = stream(utterance_seed(self.seed, epoch, "shards"), "order").permutation(len(self.index.shards))
        size = self.loader.group_shards
        return [order[first : first + size] for first in range(0, len(order), size)]

    def group_steps(self, epoch: int) -> Indices:
        """Return (groups,) the steps of an epoch that are done when each group is."""
        if self._ends is None or self._ends[0] != epoch:
            counts = [len(self._plan(epoch, group).batches) for group in range(len(self.groups(epoch)))]
            self._ends = epoch, np.cumsum(counts)
        return self._ends[1]

    def group_plan(self, epoch: int, group: int) -> StepPlan:
        """Return the steps of a group, numbered within the epoch."""
        ends = self.group_steps(epoch)
        return self._plan(epoch, group, first_step=int(ends[group - 1]) if group else 0)

    def prepare(self, part: Part) -> None:
        """Let go of the shards before those of a part, and get ready those of the next group."""
        if self._prepared == (part.epoch, part.group):
            return
        self._prepared = part.epoch, part.group
        groups = self.groups(part.epoch)
        soon = groups[part.group + 1] if part.group + 1 < len(groups) else self.groups(part.epoch + 1)[0]
        self.reader.look_ahead(groups[part.group].tolist(), soon.tolist())

    def __getitem__(self, part: Part) -> Batch:
        """Return the batch of a part; an empty part gives a batch of no utterances."""
        read = {row: self.reader.read(row) for chain in part.chains for row in chain}
        seeds = [self._seeds(part.rows, part.epoch, view) for view in range(self.views)]
        return make_batch(
            part,
            ids=["+".join(read[row].id for row in chain) for chain in part.chains],
            waveforms=[np.concatenate([self._augmented(row, read[row], part.epoch) for row in c]) for c in part.chains],
            targets=[self._labels([read[row] for row in chain]) for chain in part.chains],
            seeds=torch.from_numpy(np.stack(seeds, axis=1)),
            partners=self._partners(part, seeds[0]),
            sample_rate=self.sample_rate,
        )

    def _plan(self, epoch: int, group: int, first_step: int = 0) -> StepPlan:
        rows = self._rows(epoch, group)
        samples = self.index.records["samples"][rows].astype(np.int64)
        if self.index.sample_rate != self.sample_rate:
            samples = -(-samples * self.sample_rate // self.index.sample_rate)
        seeds = self._seeds(rows, epoch, 0)
        seed = utterance_seed(self.seed, epoch, f"group {group}")
        return self._planner.plan(rows, seeds, samples, seed=seed, epoch=epoch, group=group, first_step=first_step)

    def _rows(self, epoch: int, group: int) -> Indices:
        """Return the utterances of a group that are not too long."""
        if self._group is None or self._group[0] != (epoch, group):
            firsts = self.index.firsts
            spans = [np.arange(firsts[shard], firsts[shard + 1]) for shard in self.groups(epoch)[group]]
            rows = np.concatenate(spans)
            kept = rows[self.index.records["samples"][rows] <= self._longest]
            self._group = (epoch, group), kept
        return self._group[1]

    def _seeds(self, rows: Sequence[int] | Indices, epoch: int, view: int) -> Indices:
        identities = self.index.records["identity"][np.asarray(rows, np.int64)]
        return identity_seeds(self.seed, epoch, identities, view)

    def _augmented(self, row: int, utterance: ShardedUtterance, epoch: int) -> Waveform:
        seed = int(self._seeds([row], epoch, 0)[0])
        waveform = self.reader.waveform(row, utterance, self.sample_rate)
        return augment_waveform(waveform, seed, self.augment.waveform, self.noise)

    def _labels(self, chain: Sequence[ShardedUtterance]) -> Indices:
        try:
            ids = self._tokenizer.encode(joined_text(self._tokenizer, [utterance.text for utterance in chain]))
        except DataError as error:
            raise DataError(f"utterance '{chain[0].id}' of {self.index.place}: {error}") from None
        return np.array(ids, dtype=np.int64)

    def _partners(self, part: Part, seeds: Indices) -> Partners | None:
        """Draw which rows get a partner, and whom: any utterance of the group."""
        if self.augment.mixing.probability == 0:
            return None
        rows = self._rows(part.epoch, part.group)
        drawn = drawn_partners(seeds.tolist(), self.augment.mixing.probability, len(rows))
        chosen = {row: int(rows[place]) for row, place in drawn.items()}
        return make_partners(
            {row: self.reader.waveform(one, self.reader.read(one), self.sample_rate) for row, one in chosen.items()}
        )


class _Prepared(Dataset[Batch]):
    """Batches of shards, the next group's shards got ready meanwhile.

    Only where batches are made one after another: a thread that is at work while a process is forked may leave the
    new one a lock that nobody opens.
    """

    def __init__(self, data: ShardedData) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, part: Part) -> Batch:
        self.data.prepare(part)
        return self.data[part]


def longest_samples(index: ShardIndex, loader: LoaderConfig, augment: AugmentConfig) -> int:
    """Return the samples, as recorded, above which an utterance is left out at the slowest speed."""
    slowest = min(augment.waveform.speed_factors, default=1.0)
    return int(loader.max_seconds * slowest * index.sample_rate)


def refuse_untrainable(
    index: ShardIndex, tokenizer: Tokenizer, loader: LoaderConfig, augment: AugmentConfig
) -> dict[str, str]:
    """Return why utterances are left out, by shard and place, if the others can be trained on.

    Whether CTC can spell a text is not known before it is read: such utterances are counted while training.
    Raises: DataError if texts are missing or hold characters outside the alphabet, or nothing is left.
    """
    if index.without_text:
        raise DataError(
            f"{index.place}: {index.without_text} of {len(index)} utterances have no text; leave them out of the"
            " manifest and run asr shard again"
        )
    _check_characters(index, tokenizer)
    limit = longest_samples(index, loader, augment)
    too_long = np.flatnonzero(index.records["samples"] > limit)
    if len(too_long) == len(index):
        raise DataError(f"{index.place}: all utterances are above {loader.max_seconds:g} s; nothing is left")
    left_out = {}
    for row in too_long.tolist():
        shard = index.shard_of(row)
        name = f"{index.shards[shard].file}:{row - int(index.firsts[shard])}"
        left_out[name] = f"{int(index.records['samples'][row]) / index.sample_rate:.1f} s is above the limit"
    return left_out


def _check_characters(index: ShardIndex, tokenizer: Tokenizer) -> None:
    """Raise DataError for characters outside the alphabet, but for those that text.map may map together.

    Words that a lexicon lacks are known when their texts are read.
    """
    if tokenizer.lexicon is not None:
        return
    joint = {character for key in tokenizer.normalizer.config.map if len(key) > 1 for character in key}
    unknown = {
        character: count
        for character, count in index.characters.items()
        if character not in joint and tokenizer.unknown(character)
    }
    if unknown:
        shown = ", ".join(
            f"'{character}' (U+{ord(character[0]):04X}, {count} utterances)"
            for character, count in list(unknown.items())[:_SHOWN]
        )
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise DataError(f"{index.place}: {shown}{more} not in the alphabet; see text.remove, text.map and asr tokens")

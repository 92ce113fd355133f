"""The steps that utterances make in an epoch, and what each rank takes of every step."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from asr.audio.augment import WaveformAugmentConfig, drawn_samples
from asr.data.joining import JoiningConfig, join
from asr.data.plan import Indices, batch_sums, heaviest, plan_epoch, split_batches
from asr.units import Seconds


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker needs to make one batch: for each row an utterance and those that follow it.

    Attributes:
        chains: of indices into the corpus.
        epoch, step, part: which part of which step of the epoch this is.
        global_count, global_samples: of the whole step.
        group: which utterances of the epoch were planned together.
    """

    chains: tuple[tuple[int, ...], ...]
    epoch: int
    step: int
    part: int
    global_count: int
    global_samples: int
    group: int = 0

    @property
    def rows(self) -> list[int]:
        """The utterance that each row starts with, and draws from."""
        return [chain[0] for chain in self.chains]


class Parts(Protocol):
    """Parts in the order in which a rank works through them; their number is known before they are made."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Part]: ...


@dataclass(frozen=True)
class StepPlan:
    """The steps of some utterances in an epoch; a position counts within these.

    Attributes:
        rows: (utterances,) the index of each in its corpus.
        num_samples: (utterances,) of each with those that follow it, after speed perturbation.
        followers: position -> the positions of those that follow it, in order.
        batches: the positions that make each step.
        epoch, group, first_step: as the parts tell them; the first step's number in the epoch.
    """

    rows: Indices
    num_samples: Indices
    followers: dict[int, list[int]]
    batches: list[Indices]
    epoch: int
    group: int = 0
    first_step: int = 0

    def parts(self, *, rank: int, ranks: int, accumulate: int, skip: int = 0) -> Iterator[Part]:
        """Yield what a rank works through: `accumulate` parts of each step, those of the first `skip` left out."""
        pieces = split_batches(self.batches, self.num_samples, ranks * accumulate)
        samples = batch_sums(self.batches, self.num_samples)
        for step in range(skip, len(self.batches)):
            for part in range(rank * accumulate, (rank + 1) * accumulate):
                yield self._part(pieces[step * ranks * accumulate + part], step, part, samples[step])

    def heaviest(self, *, rank: int, ranks: int, accumulate: int) -> list[tuple[Part, Indices]]:
        """Return (part, samples of its rows) of the parts of a rank that need the most memory; it may have none."""
        pieces = split_batches(self.batches, self.num_samples, ranks * accumulate)
        shares = range(rank * accumulate, (rank + 1) * accumulate)
        places = ((step, part) for step in range(len(self.batches)) for part in shares)
        mine = [(place, piece) for place in places if len(piece := pieces[place[0] * ranks * accumulate + place[1]])]
        chosen = heaviest([piece for _, piece in mine], self.num_samples) if mine else []
        samples = batch_sums(self.batches, self.num_samples)
        return [
            (self._part(piece, *place, samples[place[0]]), self.num_samples[piece])
            for place, piece in (mine[index] for index in chosen)
        ]

    def each_alone(self) -> list[Part]:
        """Return every utterance, in order, as a batch of its own."""
        samples = self.num_samples.tolist()
        chains = self._chains(np.arange(len(self.rows)))
        return [Part((chain,), self.epoch, 0, 0, 1, count) for chain, count in zip(chains, samples, strict=True)]

    def _part(self, piece: Indices, step: int, part: int, samples: int) -> Part:
        count, number = len(self.batches[step]), self.first_step + step
        return Part(self._chains(piece), self.epoch, number, part, count, samples, self.group)

    def _chains(self, positions: Indices) -> tuple[tuple[int, ...], ...]:
        rows = self.rows[positions].tolist()
        if not self.followers:
            return tuple((row,) for row in rows)
        behind = (self.followers.get(position, []) for position in positions.tolist())
        return tuple((row, *self.rows[others].tolist()) for row, others in zip(rows, behind, strict=True))


@dataclass(frozen=True)
class StepPlanner:
    """What decides which utterances make a step."""

    sample_rate: int
    batch_seconds: Seconds
    shortest_first: bool
    waveform: WaveformAugmentConfig
    joining: JoiningConfig

    def samples(self, seeds: Indices, num_samples: Indices) -> tuple[Indices, dict[int, list[int]]]:
        """Return (samples of utterances with those that follow them, who follows whom), after speed perturbation.

        Args: seeds (utterances,) in their epoch; num_samples (utterances,) as recorded.
        """
        alone = drawn_samples(num_samples, seeds, self.waveform)
        return join(seeds, alone, self.joining, self.sample_rate)

    def plan(
        self,
        rows: Indices,
        seeds: Indices,
        num_samples: Indices,
        *,
        chosen: Indices | None = None,
        seed: int,
        epoch: int,
        group: int = 0,
        first_step: int = 0,
    ) -> StepPlan:
        """Return the steps of utterances in an epoch.

        Args:
            rows (utterances,) of the corpus; seeds, num_samples: theirs, as in `samples`.
            chosen: the positions of those that start a row; all of them may follow.
        """
        joined, followers = self.samples(seeds, num_samples)
        batches = plan_epoch(
            joined if chosen is None else joined[chosen],
            batch_samples=int(self.batch_seconds * self.sample_rate),
            seed=seed,
            epoch=epoch,
            shortest_first=self.shortest_first,
        )
        if chosen is not None:
            batches = [chosen[batch] for batch in batches]
        return StepPlan(rows, joined, followers, batches, epoch, group, first_step)


def heaviest_parts(plans: Iterable[StepPlan], *, rank: int, ranks: int, accumulate: int) -> list[Part]:
    """Return the parts of a rank, of all these plans, that need the most memory; it may have none."""
    found = [one for plan in plans for one in plan.heaviest(rank=rank, ranks=ranks, accumulate=accumulate)]
    if not found:
        return []
    lengths = [samples for _, samples in found]
    ends = np.cumsum([len(samples) for samples in lengths])
    chosen = heaviest(np.split(np.arange(ends[-1]), ends[:-1]), np.concatenate(lengths))
    return [found[index][0] for index in chosen]

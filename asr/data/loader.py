"""Batches of waveforms for training: read, perturbed and padded, the same for any number of worker processes."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asr.audio.augment import NoiseFolder, WaveformAugmentConfig, augment_waveform, perturbed_samples, speed_factor
from asr.config import Config
from asr.data.joining import JoiningConfig, followers
from asr.data.manifest import Utterance
from asr.data.plan import Indices, heaviest, plan_epoch, split_batch
from asr.data.reading import read_utterance
from asr.errors import DataError, InputError
from asr.features.mixing import MixingConfig, Partners
from asr.features.specaugment import SpecAugmentConfig
from asr.randomness import stream, utterance_seed
from asr.text.tokenizer import Tokenizer
from asr.units import samples_from_seconds

Waveform = NDArray[np.float32]

# Epoch 0 may be sorted by exact length, and then pads least; two later ones are drawn as all others are.
_TRIED_EPOCHS = 3


class AugmentConfig(Config):
    """What training does to the data; all off by default."""

    waveform: WaveformAugmentConfig = Field(WaveformAugmentConfig(), description="speed, gain, noise")
    joining: JoiningConfig = Field(JoiningConfig(), description="other utterances behind it, as one longer utterance")
    mixing: MixingConfig = Field(MixingConfig(), description="other utterances' spectra mixed in")
    spectrum: SpecAugmentConfig = Field(SpecAugmentConfig(), description="masks over time and frequency")


class LoaderConfig(Config):
    """How batches are made and fetched."""

    batch_seconds: float = Field(50.0, gt=0, description="audio in a global batch (one step), seconds")
    accumulate: int = Field(1, ge=1, le=1024, description="parts that each rank takes its share of a step in")
    max_seconds: float = Field(30.0, gt=0, description="longer utterances are left out, counted and named")
    shortest_first: bool = Field(True, description="the first epoch runs from short to long")
    workers: int = Field(1, ge=0, le=256, description="processes that read and perturb audio; 0 = none")
    cache_mb: int = Field(1024, ge=0, description="keep decoded audio in memory if all of it fits, MiB")


@dataclass(frozen=True)
class Batch:
    """One rank's part of a step.

    Attributes:
        ids: utterance ids, B of them (0 for a part left empty); joined ones as "a+b".
        waveform: (B, S) float32; lengths (B,) int64 samples.
        targets: (B, U) int64 token ids; target_lengths (B,).
        seeds: (B, views) int64 from which all randomness of the features is drawn.
        partners: waveforms to mix in, or None.
        global_count: utterances of the whole step, over all ranks and accumulations.
        global_seconds: seconds of audio in the whole step, once.
        position: (epoch, step in the epoch, part of the step).
    """

    ids: list[str]
    waveform: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    seeds: Tensor
    partners: Partners | None
    global_count: int
    global_seconds: float
    position: tuple[int, int, int]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on `device`."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, from which a GPU fetches it while it computes."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        partners = self.partners
        if partners is not None:
            partners = Partners(change(partners.rows), change(partners.waveform), change(partners.lengths))
        return replace(
            self,
            waveform=change(self.waveform),
            lengths=change(self.lengths),
            targets=change(self.targets),
            target_lengths=change(self.target_lengths),
            seeds=change(self.seeds),
            partners=partners,
        )


@dataclass(frozen=True)
class Replay:
    """Utterances of another kind that are mixed into every epoch, a new draw of them each time.

    Attributes:
        ratio: their share of an epoch's audio as recorded, in (0, 1); less where there are too few of them.
    """

    utterances: Sequence[Utterance]
    ratio: float


@dataclass(frozen=True)
class _Part:
    """What a worker needs to make one batch: for each row an utterance and those that follow it."""

    chains: tuple[tuple[int, ...], ...]
    epoch: int
    step: int
    part: int
    global_count: int
    global_samples: int

    @property
    def rows(self) -> Indices:
        """The utterance that each row starts with, and draws from."""
        return np.array([chain[0] for chain in self.chains], dtype=np.int64)


class TrainingData(Dataset[Batch]):
    """The utterances of a training, their batch plan, and how a batch is made of them.

    Everything random comes from (seed, epoch, utterance id, view).
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        tokenizer: Tokenizer,
        sample_rate: int,
        loader: LoaderConfig,
        augment: AugmentConfig,
        *,
        seed: int,
        views: int = 1,
        replay: Replay | None = None,
    ) -> None:
        self.num_new, self.replay_ratio = len(utterances), replay.ratio if replay else 0.0
        self.utterances = [*utterances, *(replay.utterances if replay else ())]
        self.sample_rate = sample_rate
        self.loader, self.augment, self.seed, self.views = loader, augment, seed, views
        self.targets = [token_ids(tokenizer, utterance) for utterance in self.utterances]
        self._tokenizer = tokenizer
        lengths = [samples_from_seconds(utterance.duration, sample_rate) for utterance in self.utterances]
        self.num_samples = np.array(lengths, dtype=np.int64)
        folder = augment.waveform.noise_folder
        self.noise = NoiseFolder(Path(folder), sample_rate) if folder else None
        self._cache: dict[int, Waveform] = {}

    def fill_cache(self) -> None:
        """Decode all audio into memory if it fits `cache_mb`; workers started later share it."""
        if 4 * int(self.num_samples.sum()) <= self.loader.cache_mb << 20:
            self._cache = {index: self._read(index) for index in range(len(self.utterances))}

    def waveforms(self) -> Iterator[Waveform]:
        """Yield the waveform of each utterance of the first epoch, as recorded."""
        for index in self.selected(0):
            yield self._clean(int(index))

    def selected(self, epoch: int) -> Indices:
        """Return the utterances of an epoch: all new ones, and as many of the replayed as make their share."""
        everything = np.arange(len(self.utterances))
        new, old = everything[: self.num_new], everything[self.num_new :]
        if not len(old):
            return new
        wanted = int(self.num_samples[new].sum()) * self.replay_ratio / (1 - self.replay_ratio)
        drawn = stream(utterance_seed(self.seed, epoch, "replay"), "replay").permutation(old)
        ends = np.cumsum(self.num_samples[drawn])
        return np.concatenate([new, drawn[: int(np.searchsorted(ends, wanted)) + 1]])

    def planned_samples(self, epoch: int) -> Indices:
        """Return each utterance's samples in an epoch, with those that follow it, after their speed perturbation."""
        return self._joined_samples(self._perturbed_samples(epoch), epoch)

    def plan(self, epoch: int) -> list[Indices]:
        """Return the global batches of an epoch."""
        return self._plan(self.planned_samples(epoch), epoch)

    def parts(self, epoch: int, *, rank: int, ranks: int, first_step: int = 0) -> list[_Part]:
        """Return what one rank works through in an epoch: `accumulate` parts for each step from `first_step`."""
        alone = self._perturbed_samples(epoch)
        num_samples = self._joined_samples(alone, epoch)
        mine = range(rank * self.loader.accumulate, (rank + 1) * self.loader.accumulate)
        parts = []
        for step, batch in enumerate(self._plan(num_samples, epoch)):
            if step >= first_step:
                pieces = split_batch(batch, num_samples, ranks * self.loader.accumulate)
                samples = int(num_samples[batch].sum())
                for piece in mine:
                    chains = tuple(self._chain(int(index), epoch, alone) for index in pieces[piece])
                    parts.append(_Part(chains, epoch, step, piece, len(batch), samples))
        return parts

    def labels(self, chain: Sequence[int]) -> Indices:
        """Return the token ids (U) of an utterance and those that follow it."""
        if len(chain) == 1:
            return self.targets[chain[0]]
        between = " " if self._tokenizer.has_space else ""
        text = between.join(self.utterances[index].text or "" for index in chain)
        return np.array(self._tokenizer.encode(text), dtype=np.int64)

    def each_alone(self, epoch: int) -> list[_Part]:
        """Return every utterance of an epoch, in order, as a batch of its own."""
        alone = self._perturbed_samples(epoch)
        chains = [self._chain(index, epoch, alone) for index in range(len(alone))]
        return [_Part((chain,), epoch, 0, 0, 1, int(alone[list(chain)].sum())) for chain in chains]

    def heaviest(self, *, rank: int, ranks: int) -> Iterator[Batch]:
        """Yield a rank's batches of the first epochs that need the most memory, to be tried before step 1."""
        epochs = range(_TRIED_EPOCHS)
        parts = [part for epoch in epochs for part in self.parts(epoch, rank=rank, ranks=ranks) if part.chains]
        if parts:
            num_samples = np.concatenate([self.planned_samples(epoch) for epoch in epochs])
            for index in heaviest([part.rows + part.epoch * len(self) for part in parts], num_samples):
                yield self[parts[index]]

    def loader_for(self, parts: Sequence[_Part], *, pin: bool = False) -> "DataLoader[Batch | InputError]":
        """Return a loader that yields the batches of `parts` in order, ahead of time if there are workers.

        An utterance that cannot be read gives its error in place of the batch: an error that crosses from a
        worker process would arrive with that process's traceback in its message.

        Args: pin: put batches in page-locked memory, for a GPU.
        """
        workers = self.loader.workers
        return DataLoader(
            _Answers(self),
            batch_size=None,
            sampler=parts,  # a sequence of parts serves as indices
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            multiprocessing_context="fork" if workers else None,
            pin_memory=pin,
            worker_init_fn=_leave_signals_to_the_trainer,
        )

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, part: _Part) -> Batch:
        """Return the batch of a part; an empty part gives a batch of no utterances."""
        waveforms = [np.concatenate([self._waveform(index, part.epoch) for index in chain]) for chain in part.chains]
        targets = [self.labels(chain) for chain in part.chains]
        padded, lengths = _padded(waveforms, np.float32)
        padded_targets, target_lengths = _padded(targets, np.int64)
        seeds = [[self._seed(index, part.epoch, view) for view in range(self.views)] for index in part.rows]
        return Batch(
            ids=["+".join(self.utterances[index].id for index in chain) for chain in part.chains],
            waveform=padded,
            lengths=lengths,
            targets=padded_targets,
            target_lengths=target_lengths,
            seeds=torch.tensor(seeds, dtype=torch.int64).view(len(seeds), self.views),
            partners=self._partners(part),
            global_count=part.global_count,
            global_seconds=part.global_samples / self.sample_rate,
            position=(part.epoch, part.step, part.part),
        )

    def _plan(self, num_samples: Indices, epoch: int) -> list[Indices]:
        chosen = self.selected(epoch)
        batches = plan_epoch(
            num_samples[chosen],
            batch_samples=int(self.loader.batch_seconds * self.sample_rate),
            seed=self.seed,
            epoch=epoch,
            shortest_first=self.loader.shortest_first,
        )
        return [chosen[batch] for batch in batches]

    def _seed(self, index: int, epoch: int, view: int = 0) -> int:
        return utterance_seed(self.seed, epoch, self.utterances[index].id, view)

    def _perturbed_samples(self, epoch: int) -> Indices:
        """Return each utterance's own samples in an epoch, after its speed perturbation."""
        config = self.augment.waveform
        if not config.speed_factors:
            return self.num_samples
        factors = [speed_factor(self._seed(index, epoch), config) for index in range(len(self.utterances))]
        planned = [perturbed_samples(int(n), f) for n, f in zip(self.num_samples, factors, strict=True)]
        return np.array(planned, dtype=np.int64)

    def _joined_samples(self, alone: Indices, epoch: int) -> Indices:
        """Return each utterance's samples with those that follow it.  Args: alone: samples of each, perturbed."""
        if not self.augment.joining.probability:
            return alone
        chains = (self._chain(index, epoch, alone) for index in range(len(alone)))
        return np.array([alone[list(chain)].sum() for chain in chains], dtype=np.int64)

    def _chain(self, index: int, epoch: int, alone: Indices) -> tuple[int, ...]:
        """Return an utterance and those that follow it.  Args: alone: samples of each, perturbed."""
        seed = self._seed(index, epoch)
        return (index, *followers(seed, index, alone, self.augment.joining, self.sample_rate))

    def _read(self, index: int) -> Waveform:
        return read_utterance(self.utterances[index], self.sample_rate)

    def _clean(self, index: int) -> Waveform:
        return self._cache[index] if index in self._cache else self._read(index)

    def _waveform(self, index: int, epoch: int) -> Waveform:
        seed = self._seed(index, epoch)
        return augment_waveform(self._clean(index), seed, self.augment.waveform, self.noise)

    def _partners(self, part: _Part) -> Partners | None:
        """Draw which rows get a partner, and whom: any utterance of the training set."""
        probability = self.augment.mixing.probability
        if probability == 0:
            return None
        rows, waveforms = [], []
        for row, index in enumerate(part.rows):
            draw = stream(self._seed(index, part.epoch), "mixing")
            if draw.random() < probability:
                rows.append(row)
                waveforms.append(self._clean(int(draw.integers(len(self.utterances)))))
        padded, lengths = _padded(waveforms, np.float32)
        return Partners(torch.tensor(rows, dtype=torch.int64), padded, lengths)


class _Answers(Dataset["Batch | InputError"]):
    """Batches, or the errors that stood in the way of making them."""

    def __init__(self, data: TrainingData) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, part: _Part) -> Batch | InputError:
        try:
            return self.data[part]
        except InputError as error:
            return error


def _leave_signals_to_the_trainer(worker: int) -> None:
    """A worker inherits the trainer's handlers: Ctrl-C is the trainer's affair, SIGTERM is how it ends a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def token_ids(tokenizer: Tokenizer, utterance: Utterance) -> Indices:
    """Return the token ids (U) of an utterance's text.  Raises: DataError naming the utterance."""
    try:
        return np.array(tokenizer.encode(utterance.text or ""), dtype=np.int64)
    except DataError as error:
        raise DataError(f"utterance '{utterance.id}': {error}") from None


def _padded(rows: Sequence[NDArray[np.generic]], dtype: type[np.generic]) -> tuple[Tensor, Tensor]:
    """Return ((B, longest) rows padded with 0, (B,) lengths); the width is at least 1."""
    lengths = [len(row) for row in rows]
    padded = np.zeros((len(rows), max([1, *lengths])), dtype=dtype)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(padded), torch.tensor(lengths, dtype=torch.int64)

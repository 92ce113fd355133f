"""Batches of waveforms for training: read, perturbed and padded, the same for any number of worker processes."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asr.audio.augment import NoiseFolder, WaveformAugmentConfig, augment_waveform
from asr.config import Config
from asr.data.joining import JoiningConfig
from asr.data.manifest import Utterance
from asr.data.plan import Indices
from asr.data.reading import read_utterance
from asr.data.steps import Part, Parts, StepPlan, StepPlanner, heaviest_parts
from asr.errors import DataError, InputError
from asr.features.mixing import MixingConfig, Partners
from asr.features.specaugment import SpecAugmentConfig
from asr.randomness import stream, utterance_seed, utterance_seeds
from asr.text.tokenizer import Tokenizer
from asr.units import Seconds, samples_from_seconds

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
    group_shards: int = Field(4, ge=1, description="shards read together: each batch is of one such group")
    shard_cache_mb: int = Field(0, ge=0, description="fetched shards kept in TMPDIR beside those in use, MiB")


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


def planner(loader: LoaderConfig, augment: AugmentConfig, sample_rate: int) -> StepPlanner:
    """Return what plans the steps of an epoch, as configured."""
    return StepPlanner(
        sample_rate, loader.batch_seconds, loader.shortest_first, waveform=augment.waveform, joining=augment.joining
    )


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
        self._tokenizer = tokenizer
        self._planner = planner(loader, augment, sample_rate)
        lengths = (samples_from_seconds(utterance.duration, sample_rate) for utterance in self.utterances)
        self.num_samples = np.fromiter(lengths, np.int64, len(self.utterances))
        folder = augment.waveform.noise_folder
        self.noise = NoiseFolder(Path(folder), sample_rate) if folder else None
        self._cache: dict[int, Waveform] = {}

    @property
    def audio_seconds(self) -> Seconds:
        """All audio that is not replayed, as recorded."""
        return int(self.num_samples[: self.num_new].sum()) / self.sample_rate

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
        return self._steps(epoch).num_samples

    def plan(self, epoch: int) -> list[Indices]:
        """Return the global batches of an epoch."""
        return self._steps(epoch).batches

    def parts(self, epoch: int, *, rank: int, ranks: int, first_step: int = 0) -> list[Part]:
        """Return what one rank works through in an epoch: `accumulate` parts for each step from `first_step`."""
        accumulate = self.loader.accumulate
        return list(self._steps(epoch).parts(rank=rank, ranks=ranks, accumulate=accumulate, skip=first_step))

    def labels(self, chain: Sequence[int]) -> Indices:
        """Return the token ids (U) of an utterance and those that follow it.  Raises: DataError naming it."""
        first, *others = (self.utterances[index] for index in chain)
        text = joined_text(self._tokenizer, [first.text, *(other.text for other in others)])
        return token_ids(self._tokenizer, replace(first, text=text))

    def each_alone(self, epoch: int) -> list[Part]:
        """Return every utterance of an epoch, in order, as a batch of its own."""
        return self._steps(epoch).each_alone()

    def heaviest(self, *, rank: int, ranks: int) -> Iterator[Batch]:
        """Yield a rank's batches of the first epochs that need the most memory, to be tried before step 1."""
        plans = map(self._steps, range(_TRIED_EPOCHS))
        for part in heaviest_parts(plans, rank=rank, ranks=ranks, accumulate=self.loader.accumulate):
            yield self[part]

    def loader_for(self, parts: Parts, *, pin: bool = False) -> "DataLoader[Batch | InputError]":
        """Return a loader that yields the batches of `parts` in order, ahead of time if there are workers.

        An utterance that cannot be read gives its error in place of the batch: an error that crosses from a
        worker process would arrive with that process's traceback in its message.

        Args: pin: put batches in page-locked memory, for a GPU.
        """
        return batch_loader(self, parts, self.loader.workers, pin=pin)

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, part: Part) -> Batch:
        """Return the batch of a part; an empty part gives a batch of no utterances."""
        waveforms = [np.concatenate([self._waveform(index, part.epoch) for index in chain]) for chain in part.chains]
        seeds = [[self._seed(index, part.epoch, view) for view in range(self.views)] for index in part.rows]
        return make_batch(
            part,
            ids=["+".join(self.utterances[index].id for index in chain) for chain in part.chains],
            waveforms=waveforms,
            targets=[self.labels(chain) for chain in part.chains],
            seeds=torch.tensor(seeds, dtype=torch.int64).view(len(seeds), self.views),
            partners=self._partners(part),
            sample_rate=self.sample_rate,
        )

    def _steps(self, epoch: int) -> StepPlan:
        seeds = utterance_seeds(self.seed, epoch, (utterance.id for utterance in self.utterances))
        return self._planner.plan(
            np.arange(len(self)), seeds, self.num_samples, chosen=self.selected(epoch), seed=self.seed, epoch=epoch
        )

    def _seed(self, index: int, epoch: int, view: int = 0) -> int:
        return utterance_seed(self.seed, epoch, self.utterances[index].id, view)

    def _read(self, index: int) -> Waveform:
        return read_utterance(self.utterances[index], self.sample_rate)

    def _clean(self, index: int) -> Waveform:
        return self._cache[index] if index in self._cache else self._read(index)

    def _waveform(self, index: int, epoch: int) -> Waveform:
        seed = self._seed(index, epoch)
        return augment_waveform(self._clean(index), seed, self.augment.waveform, self.noise)

    def _partners(self, part: Part) -> Partners | None:
        """Draw which rows get a partner, and whom: any utterance of the training set."""
        if self.augment.mixing.probability == 0:
            return None
        seeds = [self._seed(index, part.epoch) for index in part.rows]
        drawn = drawn_partners(seeds, self.augment.mixing.probability, len(self.utterances))
        return make_partners({row: self._clean(index) for row, index in drawn.items()})


class BatchSource(Protocol):
    """What a training reads: the utterances of a manifest, or of shards.

    Attributes:
        sample_rate: of the waveforms, Hz; seed: of all that is drawn.
        num_new: utterances that every epoch goes through.
    """

    sample_rate: int
    seed: int
    num_new: int

    @property
    def audio_seconds(self) -> Seconds:
        """All audio, as recorded."""

    def parts(self, epoch: int, *, rank: int, ranks: int, first_step: int = 0) -> Parts:
        """Return what one rank works through in an epoch: `accumulate` parts for each step from `first_step`."""

    def heaviest(self, *, rank: int, ranks: int) -> Iterator[Batch]:
        """Yield a rank's batches that need the most memory, to be tried before step 1."""

    def loader_for(self, parts: Parts, *, pin: bool = False) -> "DataLoader[Batch | InputError]":
        """Return a loader that yields the batches of `parts` in order, or the error in place of one."""

    def waveforms(self) -> Iterator[Waveform]:
        """Yield the waveform of each utterance, as recorded."""

    def labels(self, chain: Sequence[int]) -> Indices:
        """Return the token ids (U) of an utterance and those that follow it."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: Part) -> Batch: ...


def batch_loader(data: Dataset[Batch], parts: Parts, workers: int, *, pin: bool) -> "DataLoader[Batch | InputError]":
    """Return what `BatchSource.loader_for` returns, with so many worker processes."""
    return DataLoader(
        _Answers(data),
        batch_size=None,
        sampler=parts,  # parts serve as indices
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="fork" if workers else None,
        pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_trainer,
    )


def make_batch(
    part: Part,
    *,
    ids: list[str],
    waveforms: Sequence[Waveform],
    targets: Sequence[Indices],
    seeds: Tensor,
    partners: Partners | None,
    sample_rate: int,
) -> Batch:
    """Return the batch of a part from what was read and drawn for its rows."""
    padded, lengths = _padded(waveforms, np.float32)
    padded_targets, target_lengths = _padded(targets, np.int64)
    return Batch(
        ids=ids,
        waveform=padded,
        lengths=lengths,
        targets=padded_targets,
        target_lengths=target_lengths,
        seeds=seeds,
        partners=partners,
        global_count=part.global_count,
        global_seconds=part.global_samples / sample_rate,
        position=(part.epoch, part.step, part.part),
    )


def drawn_partners(seeds: Sequence[int], probability: float, count: int) -> dict[int, int]:
    """Return {row: which of `count` utterances is mixed into it} for the rows that get a partner."""
    drawn = {}
    for row, seed in enumerate(seeds):
        draw = stream(seed, "mixing")
        if draw.random() < probability:
            drawn[row] = int(draw.integers(count))
    return drawn


def make_partners(waveforms: Mapping[int, Waveform]) -> Partners:
    """Return the partners of a batch.  Args: waveforms: of each row's partner."""
    padded, lengths = _padded(list(waveforms.values()), np.float32)
    return Partners(torch.tensor(list(waveforms), dtype=torch.int64), padded, lengths)


class _Answers(Dataset["Batch | InputError"]):
    """Batches, or the errors that stood in the way of making them."""

    def __init__(self, data: Dataset[Batch]) -> None:
        self.data = data

    def __getitem__(self, part: Part) -> Batch | InputError:
        try:
            return self.data[part]
        except InputError as error:
            return error


def _leave_signals_to_the_trainer(worker: int) -> None:
    """A worker inherits the trainer's handlers: Ctrl-C is the trainer's affair, SIGTERM is how it ends a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def joined_text(tokenizer: Tokenizer, texts: Sequence[str | None]) -> str:
    """Return the text of an utterance and those that follow it."""
    return (" " if tokenizer.has_space else "").join(text or "" for text in texts)


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

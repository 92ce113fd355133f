"""Greedy decoding of held-out utterances during training: error rates, and what to look at when they are bad."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from asr.data.manifest import Utterance
from asr.data.reading import read_utterance
from asr.decoding.greedy import best_paths, collapse
from asr.model import AcousticModel
from asr.nn.ctc import BLANK_ID
from asr.scoring.error_rate import Pair, score


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes:
        wer, cer: in percent.
        blank_share: of the frames whose best token is blank, in [0, 1].
        mean_tokens: recognised tokens an utterance.
        pairs: three (reference, hypothesis), the same utterances each time.
    """

    wer: float
    cer: float
    blank_share: float
    mean_tokens: float
    pairs: list[tuple[str, str]]


@dataclass
class _Heard:
    """What a model made of the utterances, and counts of its frames and tokens."""

    texts: list[str] = field(default_factory=list)
    blanks: int = 0
    frames: int = 0
    tokens: int = 0


class Validator:
    """Decodes a fixed set of utterances, read once and kept."""

    def __init__(self, utterances: Sequence[Utterance], model: AcousticModel, batch_seconds: float) -> None:
        order = sorted(utterances, key=lambda utterance: utterance.duration)
        self.references = [model.tokenizer.normalizer(utterance.text or "") for utterance in order]
        self.waveforms = [read_utterance(utterance, model.sample_rate) for utterance in order]
        self.ids = [utterance.id for utterance in order]
        self.batch_samples = int(batch_seconds * model.sample_rate)

    def run(self, model: AcousticModel) -> Validation:
        """Return the error rates of `model`, which is left in the mode it was in."""
        heard = self._heard(model)
        pairs = self._pairs(heard)
        rates = score(pairs)
        shown = [pairs[len(pairs) * part // 4] for part in (1, 2, 3)]
        return Validation(
            wer=100 * rates.words.rate,
            cer=100 * rates.characters.rate,
            blank_share=heard.blanks / max(1, heard.frames),
            mean_tokens=heard.tokens / max(1, len(heard.texts)),
            pairs=[(pair.reference, pair.hypothesis) for pair in shown],
        )

    def pairs(self, model: AcousticModel) -> list[Pair]:
        """Return what was said and what `model` recognises, utterance by utterance, from short to long."""
        return self._pairs(self._heard(model))

    def _pairs(self, heard: "_Heard") -> list[Pair]:
        return [Pair(*row) for row in zip(self.ids, self.references, heard.texts, strict=True)]

    def _heard(self, model: AcousticModel) -> "_Heard":
        was_training = model.training
        model.eval()
        heard = _Heard()
        with torch.inference_mode():
            device = next(model.parameters()).device
            for first, last in self._batches():
                log_probs, lengths = model(*self._padded(first, last, device))
                for path in best_paths(log_probs.cpu(), lengths.cpu()):
                    spans = collapse(path, blank_id=BLANK_ID)
                    heard.texts.append(model.tokenizer.decode([span.token_id for span in spans]))
                    heard.blanks += int((path.token_ids == BLANK_ID).sum())
                    heard.frames += len(path.token_ids)
                    heard.tokens += len(spans)
        model.train(was_training)
        return heard

    def _batches(self) -> list[tuple[int, int]]:
        """Return [first, last) of runs whose padded size stays within the batch."""
        runs, first = [], 0
        for last in range(1, len(self.waveforms) + 1):
            full = last == len(self.waveforms)
            if full or len(self.waveforms[last]) * (last + 1 - first) > self.batch_samples:
                runs.append((first, last))
                first = last
        return runs

    def _padded(self, first: int, last: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [torch.from_numpy(waveform) for waveform in self.waveforms[first:last]]
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device), lengths.to(device)

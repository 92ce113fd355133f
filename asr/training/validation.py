"""Greedy decoding of held-out utterances during training: error rates, and what to look at when they are bad."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        was_training = model.training
        model.eval()
        texts: list[str] = []
        blanks = frames = tokens = 0
        with torch.inference_mode():
            device = next(model.parameters()).device
            for first, last in self._batches():
                log_probs, lengths = model(*self._padded(first, last, device))
                for path in best_paths(log_probs.cpu(), lengths.cpu()):
                    spans = collapse(path, blank_id=BLANK_ID)
                    texts.append(model.tokenizer.decode([span.token_id for span in spans]))
                    blanks += int((path.token_ids == BLANK_ID).sum())
                    frames += len(path.token_ids)
                    tokens += len(spans)
        model.train(was_training)
        pairs = [Pair(*row) for row in zip(self.ids, self.references, texts, strict=True)]
        rates = score(pairs)
        shown = [pairs[len(pairs) * part // 4] for part in (1, 2, 3)]
        return Validation(
            wer=100 * rates.words.rate,
            cer=100 * rates.characters.rate,
            blank_share=blanks / max(1, frames),
            mean_tokens=tokens / max(1, len(texts)),
            pairs=[(pair.reference, pair.hypothesis) for pair in shown],
        )

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

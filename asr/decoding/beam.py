"""Prefix beam search over CTC log-probs: the same answer in one go and frame by frame."""

from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asr.config import Config
from asr.decoding.fusion import ALL, MODEL, MODEL_LOG, Fusion, finished, lifts_of, plain
from asr.decoding.greedy import refuse_sum
from asr.decoding.prefix_beam import ALIVE, NONE, ROOT, Limits, advance, new_beam, new_room, new_tree, pruned
from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.decoding.prefix_beam import Tree
    from asr.text.tokenizer import Tokenizer

BLANK_ID = 0
_NODES = 1 << 13  # that the tree may grow by before it loses its dead branches


class BeamConfig(Config):
    """How wide the search is.  Margins are in natural logs: e^-10 is one in 22,000."""

    beam: int = Field(default=100, ge=1, le=65_536, description="prefixes that go on from a frame to the next")
    beam_margin: float = Field(default=20.0, gt=0, description="prefixes so far below the best are dropped")
    token_margin: float = Field(default=10.0, gt=0, description="tokens so far below a frame's best are not tried")
    blank_penalty: float = Field(default=0.0, description="taken off the log-prob of each blank")


@dataclass(frozen=True, slots=True)
class Prefix:
    """One answer of the search.

    Attributes:
        token_ids: without blanks, repeats merged.
        frames: of each token, one near where it lies: where most of the prefix's probability came in.  They never fall.
        score: what the search maximised; acoustic_score, lm_score: natural logs of its parts, not weighted.
        words: of a closed vocabulary; None: as the tokens spell them.
    """

    token_ids: tuple[int, ...]
    frames: tuple[int, ...]
    score: float
    acoustic_score: float
    lm_score: float
    words: tuple[str, ...] | None = None

    def text(self, tokenizer: "Tokenizer") -> str:
        """Return what it says.  Args: tokenizer: of its tokens."""
        return tokenizer.decode(self.token_ids) if self.words is None else " ".join(self.words)


class BeamSearch:
    """One utterance's search: `accept` its log-probs in any number of parts, then `finish`."""

    def __init__(self, num_tokens: int, config: BeamConfig | None = None, fusion: Fusion | None = None) -> None:
        """Start an utterance.

        Args: num_tokens: V, blank 0 included.  fusion: what is added to the acoustic score, `plain` for nothing.
        """
        config = config or BeamConfig()
        self._fusion = fusion if fusion is not None else plain(num_tokens)
        lifts, spelling = np.exp(lifts_of(self._fusion)), self._fusion.spelling
        spaces = np.flatnonzero(spelling.starts & (np.diff(spelling.firsts) == 0))
        self._space_id = int(spaces[0]) if len(spaces) else NONE
        self._limits = Limits(
            config.beam,
            exp(-config.beam_margin),
            exp(-config.token_margin),
            lifts,
            float(lifts.max()),
            BLANK_ID,
            self._space_id,
        )
        self._blank_factor = exp(-config.blank_penalty)
        self._num_tokens = num_tokens
        self._tree, self._beam = new_tree(_NODES), new_beam(config.beam)
        self._room = new_room(config.beam, num_tokens)
        self._tree.states[ROOT, MODEL] = self._fusion.start
        self._finished = False

    def accept(self, log_probs: NDArray[np.float32]) -> None:
        """Hear more frames.

        Args: log_probs: (E, V) natural log, normalised over V.
        Raises: DataError for rows that are not log-probabilities; UsageError for another V, or after `finish`.
        """
        if self._finished:
            raise UsageError("the search is finished; start another one for the next utterance")
        probs = checked_probs(log_probs, self._num_tokens)
        probs[:, BLANK_ID] *= self._blank_factor
        room = _NODES
        while len(probs):
            heard = advance(probs, self._tree, self._beam, self._limits, self._fusion, self._room)
            probs = probs[heard:]
            if len(probs):
                room = room if heard else 2 * room
                self._tree = pruned(self._tree, self._beam, room=room)

    def finish(self, count: int = 1) -> list[Prefix]:
        """Return up to `count` answers, the best first; no two spell the same tokens, and none ends in a space.

        The language model's end of the sentence is scored here, so the order may change once more.
        """
        self._finished = True
        tree, beam = self._tree, self._beam
        alive = int(beam.counts[ALIVE])
        nodes = beam.node[:alive]
        added = finished(self._fusion, tree.states[nodes], tree.added[nodes])
        scores = np.log(beam.blank[:alive] + beam.other[:alive]) + beam.scale[0]
        scores += added[:, ALL] - tree.added[nodes, ALL]
        # with a space at the end a text is the same one
        ends_in_space = (nodes != ROOT) & (tree.token[nodes] == self._space_id)
        texts = np.where(ends_in_space, tree.parent[nodes], nodes)
        answers: dict[int, int] = {}
        for place in np.argsort(-scores, kind="stable").tolist():
            text = int(texts[place])
            if (other := answers.get(text)) is not None:
                scores[[place, other]] = np.logaddexp(scores[place], scores[other])
            if other is None or nodes[place] == text:  # the answer has the scores of the text without that space
                answers[text] = place
        order = sorted(answers.items(), key=lambda item: -scores[item[1]])[:count]
        return [self._answer(text, float(scores[place]), added[place]) for text, place in order]

    def _answer(self, node: int, score: float, added: NDArray[np.float64]) -> Prefix:
        acoustic = score - float(added[ALL]) if np.isfinite(added[ALL]) else -np.inf
        return Prefix(*_spelled(self._tree, node), score, acoustic, float(added[MODEL_LOG]))


def checked_probs(log_probs: NDArray[np.float32], num_tokens: int) -> NDArray[np.float64]:
    """Return the probabilities (E, V).

    Raises: DataError unless the rows of (E, V) are log-probabilities; UsageError for another V, or no array of floats.
    """
    if not isinstance(log_probs, np.ndarray) or log_probs.dtype.kind != "f":
        kind = getattr(log_probs, "dtype", type(log_probs).__name__)
        raise UsageError(f"log_probs of {kind}: expected a NumPy array of floats; of a tensor .detach().cpu().numpy()")
    if log_probs.ndim != 2 or log_probs.shape[1] != num_tokens:
        raise UsageError(f"log_probs {log_probs.shape}: expected (E, {num_tokens}), one column a token")
    with np.errstate(over="ignore", invalid="ignore"):  # infinite sums are refused
        probs = np.exp(log_probs, dtype=np.float64)
        sums = probs.sum(1)
    if len(sums):
        refuse_sum(float(sums[np.abs(sums - 1).argmax()]))  # of NaN the first is the greatest
    return probs


def _spelled(tree: "Tree", node: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens of a prefix and the frames near which they lie."""
    ids, frames, latest = [], [], int(tree.frame[node])
    while node != ROOT:
        # a shorter prefix may have come anew, when its token was heard once more, and this one be of before that
        latest = min(latest, int(tree.frame[node]))
        ids.append(int(tree.token[node]))
        frames.append(latest)
        latest = min(latest, int(tree.before[node]))
        node = int(tree.parent[node])
    return tuple(reversed(ids)), tuple(reversed(frames))

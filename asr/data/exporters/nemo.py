"""Utterances -> a NeMo manifest.

NeMo does not read the keys id, channel and language (it reads lang): they are for those who import it again.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.data.check_report import counted
from asr.data.manifest import Utterance
from asr.data.recordings import Progress
from asr.store import write_text


def write(utterances: Sequence[Utterance], out: Path, progress: Progress | None = None) -> list[str]:
    """Write the manifest `out`, with absolute paths; return what the user should know.  Raises: MachineError."""
    write_text(out, "".join(json.dumps(_row(one), ensure_ascii=False) + "\n" for one in utterances))
    notes = []
    channels = sum(utterance.channel is not None for utterance in utterances)
    if channels:
        notes.append(
            f"{counted(channels, 'utterance')} of one channel: NeMo has no key for it, set its channel_selector"
        )
    texts = sum(utterance.text is None for utterance in utterances)
    if texts:
        notes.append(f"{counted(texts, 'utterance')} without a text")
    return notes


def _row(utterance: Utterance) -> dict[str, Any]:
    row = {
        "audio_filepath": os.fspath(utterance.audio),
        "duration": utterance.duration,
        "text": utterance.text,
        "offset": utterance.start or None,
        "speaker": utterance.speaker,
        "lang": utterance.language,
        "channel": utterance.channel,
        "id": utterance.id,
    }
    return {key: value for key, value in row.items() if value is not None}

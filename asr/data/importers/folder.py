"""A folder of recordings, each with its text in a .txt or .lab file of the same name, at any depth."""

from asr.data.check_report import counted
from asr.data.importers.pairs import AUDIO_SUFFIXES, files_by_stem
from asr.data.importers.problems import AMBIGUOUS, BAD_ROW, NO_TEXT
from asr.data.importers.reading import read_text
from asr.data.importers.task import Draft, Task
from asr.data.names import named
from asr.errors import DataError

TEXT_SUFFIXES = frozenset({".txt", ".lab"})
_MAX_TEXT_BYTES = 1_000_000


def read(task: Task) -> list[Draft]:
    """Return an utterance for each recording, in the order of their names; what has no partner goes to the task.

    Where no recording has a text, they are imported without, to be transcribed.
    Raises: DataError if the folder cannot be read.
    """
    if not task.source.is_dir():
        raise DataError(f"{task.source}: not a folder; give the one that holds the recordings")
    recordings = files_by_stem(task.audio_root, AUDIO_SUFFIXES)
    texts = files_by_stem(task.source, TEXT_SUFFIXES)
    without = sorted(texts.keys() - recordings.keys())
    if without:
        task.notes.append(
            f"{counted(len(without), 'text')} without a recording: {named([texts[key][0] for key in without])}"
        )
    is_labelled = not texts.keys().isdisjoint(recordings)
    if recordings and not is_labelled:
        task.notes.append("no recording has a text of its name (.txt, .lab): utterances have none")
    drafts = []
    for stem, audio in recordings.items():
        partners = texts.get(stem, [])
        if len(audio) > 1 or len(partners) > 1:
            task.problems.add(AMBIGUOUS, stem, ", ".join(audio + partners))
        elif partners or not is_labelled:
            drafts += _drafts(task, stem, audio[0], partners)
        else:
            task.problems.add(NO_TEXT, audio[0])
    return drafts


def _drafts(task: Task, stem: str, audio: str, partners: list[str]) -> list[Draft]:
    """Return the utterance, unless its text cannot be read."""
    try:
        text = read_text(task.source / partners[0], max_bytes=_MAX_TEXT_BYTES).strip() if partners else None
    except DataError as error:
        task.problems.add(BAD_ROW, partners[0], str(error))
        return []
    return [Draft(stem.replace("/", "-"), task.resolve(audio), text=text)]

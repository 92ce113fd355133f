"""Which column of a table holds what: known names of columns, and those that the user names."""

from collections.abc import Collection, Mapping, Sequence

from asr.data.check_report import counted
from asr.errors import DataError, UsageError, did_you_mean

# Seen in Common Voice, DeepSpeech, LJ Speech, LibriSpeech and other data sets, or natural in a spreadsheet.
COLUMNS = {
    "id": ("id", "utt_id", "utterance_id", "segment_id"),
    "audio": (
        *("audio", "path", "file", "filename", "file_name", "wav_filename", "wav", "audio_path", "audio_file"),
        *("audio_filepath", "audio_filename", "recording"),
    ),
    "text": ("text", "transcript", "transcription", "sentence"),
    "start": ("start", "start_time", "begin", "offset"),
    "end": ("end", "end_time", "stop"),
    "duration": ("duration", "length"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk", "spk_id"),
    "channel": ("channel",),
    "language": ("language", "lang", "locale"),
}
_KEY_OF = {name: key for key, names in COLUMNS.items() for name in names}


def match_columns(
    header: Sequence[str], chosen: Mapping[str, str], where: str, keys: Collection[str] = tuple(COLUMNS)
) -> dict[str, int]:
    """Return the index of the column of each key, for those that there are; "audio" always is.

    Args:
        chosen: key -> column's name, which goes before the known names.
        where: the file, for messages.
        keys: that are asked for.
    Raises: UsageError for a chosen key or column that there is not; DataError if two columns are the same, or none
        is the audio.
    """
    found: dict[str, int] = {}
    plain = [_plain(name) for name in header]
    for key, name in chosen.items():
        if key not in COLUMNS:
            raise UsageError(f"--column {key}={name}: no such key{did_you_mean(key, COLUMNS)}")
        if _plain(name) not in plain:
            raise UsageError(f"--column {key}={name}: {where} has no such column{did_you_mean(name, header)}")
        found[key] = plain.index(_plain(name))
    named = set(found.values())
    for index, name in enumerate(plain):
        key = _KEY_OF.get(name, "")
        if key not in keys or key in chosen or index in named:
            continue
        if key in found:
            raise DataError(
                f"{where}: columns '{header[found[key]]}' and '{header[index]}' could both be the {key}; "
                f"say which with --column {key}=NAME"
            )
        found[key] = index
    if "audio" not in found:
        raise DataError(
            f"{where}: no column names the audio files (found: {_listed(header)}); the first line must name the "
            "columns; say which with --column audio=NAME"
        )
    return found


def column_notes(header: Sequence[str], columns: Mapping[str, int]) -> list[str]:
    """Return what the user should know of the choice: no text, and which columns are not used."""
    notes = []
    if "text" not in columns:
        notes.append("no column is the text: utterances have none; name one with --column text=NAME")
    unused = [name for index, name in enumerate(header) if index not in columns.values()]
    if unused:
        notes.append(f"{counted(len(unused), 'column')} not used: {_listed(unused)}")
    return notes


def _plain(name: str) -> str:
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:20]) + (", ..." if len(names) > 20 else "")

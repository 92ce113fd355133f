"""Miniature corpora in the true layouts: words are tones, so that a network can learn them in seconds."""

import io
import tarfile
from pathlib import Path

import numpy as np
import soundfile

_PITCHES = {"0": (300.0, 450.0), "1": (900.0, 1500.0)}  # Hz at the start and at the end of a word


def make_yesno(folder: Path, num_files: int = 60) -> Path:
    """Return `folder`, filled with files named and spoken as in yesno: 8 kHz, eight words each, 1 is yes."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    numbers = random.choice(256, num_files, replace=False)
    for number in numbers:
        bits = f"{number:08b}"
        waveform = np.concatenate([word(bit, random, 8000) for bit in bits])
        soundfile.write(folder / f"{'_'.join(bits)}.wav", waveform, 8000, subtype="PCM_16")
    return folder


def make_an4(folder: Path, suffix: str = ".flac", num_speakers: int = 10) -> Path:
    """Return `folder`, laid out as AN4: two utterances by each of `num_speakers` speakers, and two to test."""
    speakers = [f"m{number:03d}" for number in range(num_speakers)]
    _write_an4_part(folder, "train", "an4_clstk", speakers, "<s> {} </s>", suffix)
    _write_an4_part(folder, "test", "an4test_clstk", ["ftst"], "{}", suffix)
    (folder / "etc" / "an4.dic").write_text("NINE  N AY N\nO'HARE  OW HH EH R\nYES  Y EH S\n")
    return folder


FSDD_SPEAKERS = ("george", "jackson", "theo")


def make_fsdd(folder: Path, indices: range = range(8)) -> Path:
    """Return `folder`, laid out as FSDD: digits 0 and 1 by three speakers, at 8 kHz."""
    (folder / "recordings").mkdir(parents=True)
    random = np.random.default_rng(2)
    for digit in "01":
        for speaker in FSDD_SPEAKERS:
            for index in indices:
                path = folder / "recordings" / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, word(digit, random, 8000), 8000, subtype="PCM_16")
    return folder


def an4_samples(name: str) -> np.ndarray:
    """Return the int16 samples of a miniature AN4 utterance, which depend on its name alone."""
    random = np.random.default_rng(list(name.encode()))
    return (np.concatenate([word(bit, random, 16000) for bit in "01"]) * 32767).astype(np.int16)


def _write_an4_part(folder: Path, part: str, top: str, speakers: list[str], line: str, suffix: str) -> None:
    file_ids, transcripts = [], []
    for speaker in speakers:
        for text, kind in (("YES", "an1"), ("O'HARE NINE", "cen2")):
            name = f"{kind}-{speaker}-b"
            file_ids.append(f"{top}/{speaker}/{name}")
            transcripts.append(f"{line.format(text)} ({name})")
            _write_audio(folder / "wav" / top / speaker / f"{name}{suffix}", an4_samples(name))
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc" / f"an4_{part}.fileids").write_text("\n".join(file_ids) + "\n")
    (folder / "etc" / f"an4_{part}.transcription").write_text("\n".join(transcripts) + "\n")


def _write_audio(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".raw":
        samples.astype(">i2").tofile(path)
    elif path.suffix == ".sph":
        soundfile.write(path, samples, 16000, format="NIST", subtype="PCM_16")
    else:
        soundfile.write(path, samples, 16000)


def word(bit: str, random: np.random.Generator, rate: int) -> np.ndarray:
    """Return a gliding tone of 0.25 to 0.35 s in faint noise, a pause of 0.2 s after it."""
    low, high = _PITCHES[bit]
    length = int(rate * random.uniform(0.25, 0.35))
    phase = 2 * np.pi * np.cumsum(np.linspace(low, high, length) * random.uniform(0.95, 1.05)) / rate
    tone = np.concatenate([0.3 * np.sin(phase) * np.hanning(length), np.zeros(rate // 5)])
    return np.asarray(tone + random.normal(0, 0.002, len(tone)))


# One sentence for each number below 100, of which every word comes often enough to be no rarity.
_ONES = ("nula", "jedna", "dva", "tři", "čtyři", "pět", "šest", "sedm", "osm", "devět")


def czech(number: int) -> str:
    """Return a sentence of two words: the digits of a number below 100."""
    return f"{_ONES[number // 10]} {_ONES[number % 10]}"


def write_ogg(path: Path, number: int, rate: int = 22050, channels: int = 1) -> None:
    """Write 1 s of tones that belong to a number alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(number)
    samples = np.concatenate([word(bit, random, rate) for bit in f"{number % 4:02b}"])
    soundfile.write(path, np.stack([samples] * channels, axis=-1), rate)


def make_fillets(folder: Path, num_dialogs: int = 60) -> Path:
    """Return `folder`, with the files of fillets-ng-data and -cs below usr/share/games/fillets-ng.

    Most dialogs are in the level `cellar`, two in `share`; one has no recording, one recording no dialog.
    """
    tree = folder / "usr" / "share" / "games" / "fillets-ng"
    sayings = {f"pra-{'mv'[n % 2]}-{n}": f"{czech(n).capitalize()}..." for n in range(num_dialogs)}
    write_dialogs(tree / "script" / "cellar" / "dialogs_cs.lua", {**sayings, "pra-m-mute": "Nikdo."})
    write_dialogs(tree / "script" / "share" / "bore_dialogs_cs.lua", {"ob-m-co": "Co?", "ob-v-nic": 'Nic, "nula"!'})
    for number, name in enumerate(sayings):
        write_ogg(tree / "sound" / "cellar" / "cs" / f"{name}.ogg", number)
    write_ogg(tree / "sound" / "cellar" / "cs" / "forgotten.ogg", 200)
    write_ogg(tree / "sound" / "share" / "borejokes" / "cs" / "ob-m-co.ogg", 201, 44100, 2)
    write_ogg(tree / "sound" / "share" / "borejokes" / "cs" / "ob-v-nic.ogg", 202)
    return folder


def write_dialogs(path: Path, sayings: dict[str, str]) -> None:
    """Write a script as the game has them: comments, line breaks, escapes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    calls = ["-- Init\n"]
    for name, text in sayings.items():
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        font = "font_big" if "-v-" in name else "font_small"
        calls.append(f'dialogId("{name}", "{font}", "In English (really).")\ndialogStr(\n"{escaped}")\n\n')
    path.write_text("".join(calls))


def make_stamps(folder: Path, num_stamps: int = 60) -> Path:
    """Return `folder`, with the files of tuxpaint-stamps-default below usr/share/tuxpaint/stamps, read in Romanian."""
    tree = folder / "usr" / "share" / "tuxpaint" / "stamps"
    for number in range(num_stamps):
        stem = tree / ("animals" if number % 2 else "food") / f"thing{number}"
        words = czech(number).translate(str.maketrans("říčšě", "aasta"))
        write_ogg(stem.with_name(f"{stem.name}_desc_ro.ogg"), number, 44100, 2)
        text = f"A thing.\nro.utf8=O {words}.\nca@valencia.utf8=Una cosa\n"
        stem.with_suffix(".txt").write_text(text)
        stem.with_suffix(".png").write_bytes(b"a picture")
    return folder


def write_deb(path: Path, files: Path, mode: str = "xz", members: list[tarfile.TarInfo] | None = None) -> Path:
    """Return `path`, a Debian package of the files below a folder, and of `members` without a body."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{mode}") as tar:
        tar.add(files, ".")
        for member in members or []:
            tar.addfile(member)
    suffix = f".{mode}" if mode else ""
    parts = [("debian-binary", b"2.0\n"), ("control.tar.gz", b"odd"), (f"data.tar{suffix}", data.getvalue())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"!<arch>\n" + b"".join(ar_member(name, body) for name, body in parts))
    return path


def ar_member(name: str, body: bytes) -> bytes:
    """Return a file in the form in which an ar archive holds it."""
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode()
    return header + body + b"\n" * (len(body) % 2)

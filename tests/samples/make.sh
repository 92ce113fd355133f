#!/usr/bin/env bash
# Speaks sentences.tsv with flite (https://github.com/festvox/flite; voices slt and rms, free to use and to pass on)
# into 16 kHz FLAC files beside this script.  Needs flite and sox.  The second one is also the sample of `asr transcribe`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
spoken() { # flite reads a lone "a" as an article: single letters are given with a full stop
    sed -E 's/\b([a-z])\b/\1./g' <<<"$1"
}
while IFS=$'\t' read -r name voice text; do
    flite -voice "$voice" -t "$(spoken "$text")" -o "/tmp/$name.$$.wav"
    sox "/tmp/$name.$$.wav" -r 16000 -b 16 "$name.flac" dither -s pad 0.2 0.2
    rm "/tmp/$name.$$.wav"
done <sentences.tsv
cp sample-02.flac ../../asr/models/sample.flac

# Shared by all recipes: the command line, the run folder, and stages that run only when they must.  To be sourced.
#
#   extra=([split]=kaldi)               options of this recipe alone, with their defaults
#   recipe NAME "$@"                    reads the command line and sets the variables below
#   stage NAME [OPTIONS] -- COMMAND     does one stage
#   model_stages TRAIN.jsonl TOKENS...  does all stages after `prepare`; TOKENS are options of `asr tokens`
#
# A recipe with the option --from (extra=([from]=an4)) fine-tunes that model, with its own tokens where TOKENS are none.
#
# A NAME such as decode.test is a part of the stage decode.  COMMAND is `asr ...`, `python FILE.py ...`, or a
# function (then --code says what it runs).  OPTIONS, and what makes a stage run again: asr/stamps.py.

stages=(prepare tokens check train average decode score)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe='' config='' # config: conf/NAME.yaml, from the root, which becomes the working directory
corpus='' out='' seed=1 start=${stages[0]} stop=${stages[-1]}
declare -A extra=()
unheard=''   # utterances never trained on, whose confidence says what looks unlike the model's domain
from=''      # the model that a training starts from: a name, a file or a run folder
overrides=() # key.path=value, for `asr train`
download=()  # --download where no corpus is given

say() { printf 'recipes/%s: %s\n' "$recipe" "$1" >&2; }
fail() { say "$2" && exit "$1"; }
asr() { "$root/.venv/bin/asr" "$@"; }
python() { "$root/.venv/bin/python" "$@"; }

usage() {
    local name
    printf 'usage: recipes/%s/run.sh [OPTIONS] [key.path=value ...]\n\n' "$recipe"
    printf '  %-15s %s\n' --corpus\ DIR "the corpus (default: downloads it to downloads/$recipe)" \
        --out\ DIR "the run folder (default: runs/$recipe)" --seed\ N "of the training (default: 1)" \
        --start\ STAGE "the first stage to do; those before it must be up to date" \
        --stop\ STAGE "the last stage to do" "STAGE" "${stages[*]}"
    for name in "${!extra[@]}"; do printf '  %-15s %s\n' "--$name VALUE" "default: ${extra[$name]}"; done
    printf '  %-15s %s\n' key.path=value "overrides conf/$recipe.yaml"
}

recipe() { # NAME ARGUMENTS...
    recipe=$1 config=conf/$1.yaml
    options "${@:2}"
    local first last
    first=$(position "$start")
    last=$(position "$stop")
    ((first <= last)) || fail 2 "--start $start comes after --stop $stop"
    [[ $seed =~ ^[0-9]+$ ]] || fail 2 "--seed must be a whole number, got '$seed'"
    [[ -z $corpus || -d $corpus ]] || fail 3 "no corpus folder at '$corpus'; check --corpus, or download: leave it out"
    [[ -n $corpus ]] || download=(--download)
    corpus=$(absolute "${corpus:-$root/downloads/$recipe}")
    out=$(absolute "${out:-$root/runs/$recipe}")
    unheard=$out/data/valid.jsonl
    [[ ${extra[from]-nothing} == nothing ]] || from=$(start_model "${extra[from]}")
    "$root/tools/setup"
    cd "$root" || exit
    { mkdir -p "$out/stages" && exec 8>"$out/stages/lock"; } || fail 4 "cannot write to '$out'; choose another --out"
    ! command -v flock >/dev/null || flock --nonblock 8 ||
        fail 4 "another run is at work in '$out'; wait for it, or choose another --out"
}

options() { # ARGUMENTS...
    while (($#)); do
        case $1 in
            -h | --help) usage && exit ;;
            --corpus | --out | --seed | --start | --stop)
                (($# > 1)) || fail 2 "$1 needs a value"
                printf -v "${1#--}" %s "$2"
                shift
                ;;
            --*)
                [[ -v extra[${1#--}] ]] || fail 2 "unknown option '$1'; see --help"
                (($# > 1)) || fail 2 "$1 needs a value"
                extra[${1#--}]=$2
                shift
                ;;
            *=*) overrides+=("$1") ;;
            *) fail 2 "'$1' is neither an option nor key.path=value; see --help" ;;
        esac
        shift
    done
}

position() { # STAGE: prints its number
    local number
    for number in "${!stages[@]}"; do
        [[ ${stages[number]} != "${1%%.*}" ]] || { printf '%s\n' "$number" && return; }
    done
    fail 2 "'$1' is no stage; there are: ${stages[*]}"
}

absolute() { # PATH: prints it, whether it exists or not
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s/%s\n' "$PWD" "$1" ;;
    esac
}

start_model() { # NAME|FILE|RUN: prints the path of the file or run folder
    local bundled=$root/asr/models/$1.safetensors
    [[ ! -f $bundled ]] || { printf '%s\n' "$bundled" && return; }
    [[ -e $1 ]] || fail 3 "--from '$1' is neither a bundled model, a file nor a run folder; check the path"
    absolute "$1"
}

stage() { # NAME [--input PATH]... [--output PATH]... [--state DIR] [--code FILE] -- COMMAND
    local stamp=(--run "$out" --stage "$1") at first last verdict
    at=$(position "$1")
    first=$(position "$start")
    last=$(position "$stop")
    shift
    ((at <= last)) || return 0
    if ((at < first)); then
        verdict=$(python -m asr.stamps judge "${stamp[@]}" "$@")
        [[ $verdict == skip ]] ||
            fail 2 "--start $start would build on something stale (see above): give the same options, or start earlier"
        return 0
    fi
    verdict=$(python -m asr.stamps begin "${stamp[@]}" "$@")
    while [[ $1 != -- ]]; do shift; done
    shift
    case $verdict in
        skip) return 0 ;;
        resume) set -- "$@" --resume ;;
    esac
    "$@" 8>&-
    python -m asr.stamps end "${stamp[@]}"
}

model_stages() { # TRAIN.jsonl OPTIONS_OF_ASR_TOKENS...
    local train=$1 valid=$out/data/valid.jsonl tokens=$out/tokens.json model=$out/model.safetensors part
    local texts=() # what the tokens depend on
    local trained=(--seed "$seed") checked=(--config "$config") made_from=()
    for part in "${overrides[@]}"; do [[ $part != text.* ]] || texts+=("$part"); done
    checked+=("${overrides[@]}")
    if [[ -n $from ]]; then
        trained+=(--from "$from") checked=(--model "$from") made_from+=(--input "$from")
    fi
    if (($# > 1)); then
        stage tokens --input "$config" --input "$train" --output "$tokens" \
            -- asr tokens --config "$config" "$train" "${texts[@]}" "${@:2}" --out "$tokens"
        trained+=(--tokens "$tokens") checked+=(--tokens "$tokens") made_from+=(--input "$tokens")
    fi
    stage check --input "$config" --input "$corpus" "${made_from[@]}" --input "$train" --input "$valid" \
        --input "$out/data/test.jsonl" --output "$out/data/check.txt" --code asr/cli/check.py \
        -- check_data "${checked[@]}" "$train" "$valid" "$out/data/test.jsonl"
    stage train --input "$config" --input "$corpus" "${made_from[@]}" --input "$train" --input "$valid" \
        --output "$out/checkpoints" --output "$out/train.receipt.json" --state "$out/checkpoints" \
        -- asr train "$config" "${overrides[@]}" --train "$train" --valid "$valid" --out "$out" "${trained[@]}"
    stage average --input "$out/checkpoints" --input "$corpus" --input "$unheard" --output "$model" \
        -- asr average "$out" --domain "$unheard" --out "$model"
    for part in valid test; do
        stage "decode.$part" --input "$model" --input "$corpus" --input "$out/data/$part.jsonl" \
            --output "$out/$part.hyp.jsonl" \
            -- asr decode "$out/data/$part.jsonl" --model "$model" --out "$out/$part.hyp.jsonl"
    done
    for part in valid test; do
        stage "score.$part" --input "$out/data/$part.jsonl" --input "$out/$part.hyp.jsonl" \
            --output "$out/$part.score.json" \
            -- asr score "$out/data/$part.jsonl" "$out/$part.hyp.jsonl" --case lower --out "$out/$part.score.json"
    done
}

check_data() { # OPTIONS AND MANIFESTS: the report on the terminal, and in data/check.txt
    local code=0
    asr check "$@" >"$out/data/check.txt" || code=$?
    cat "$out/data/check.txt"
    return "$code"
}

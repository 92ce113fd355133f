# Shared by all recipes: the command line, the run folder, and stages that run only when they must.  To be sourced.
#
#   extra=([split]=kaldi)               options of this recipe alone, with their defaults
#   recipe NAME "$@"                    reads the command line and sets the variables below
#   stage NAME [OPTIONS] -- COMMAND     does one stage
#   model_stages TRAIN.jsonl TOKENS...  does all stages after `prepare`; TOKENS are options of `asr tokens`
#   latency_stages CHUNK+RIGHT...       scores a live model at several latencies
#   small_stages NAME                   makes NAME.safetensors, the model as int8, and scores the test part with it
#   language_model_stages TRAIN.jsonl HELD_OUT    scores the test part with a 3-gram of the training texts, too
#
# A recipe with the option --train (extra=([train]=train)) trains on train.jsonl, or on train_all.jsonl, which holds valid.
# A recipe with the option --from (extra=([from]=an4)) fine-tunes that model, with its own tokens where TOKENS are none.
#
# A recipe with the option --live (extra=([live]=no)) makes another model with it, in a run folder of its own.
# What its own options mean stands in comments before `extra=`, which --help prints.
#
# A NAME such as decode.test is a part of the stage decode.  COMMAND is `asr ...`, `python FILE.py ...`, or a
# function (then --code says what it runs).  OPTIONS, and what makes a stage run again: asr/stamps.py.

stages=(prepare tokens check train average decode score)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe='' config='' # config: conf/NAME.yaml, from the root, which becomes the working directory
corpus='' out='' seed=1 device='' start=${stages[0]} stop=${stages[-1]}
declare -A extra=()
unheard=''   # utterances never trained on, whose confidence says what looks unlike the model's domain
from=''      # the model that a training starts from: a name, a file or a run folder
blended=()   # options of `asr average` that blend the model of --from with what became of it
overrides=() # key.path=value, for `asr train`
download=()  # --download where no corpus is given
page=''      # where people get the corpus; set by recipes that cannot download it
locked=''    # yes: this run alone is at work in its folder
lexicon=''   # pronunciations, where tokens are phones: decoding searches it
jobs=1       # processes of `asr check`
faulty=refuse       # training data that the model cannot learn from: refuse it, or drop, as large corpora have some
scored=(valid test) # manifests that are decoded and scored

say() { printf 'recipes/%s: %s\n' "$recipe" "$1" >&2; }
fail() { say "$2" && exit "$1"; }
asr() { # on several nodes (recipes/cluster) a training is started by what $ASR_LAUNCH says, in words
    local launch=()
    [[ $1 != train ]] || read -ra launch <<<"${ASR_LAUNCH:-}"
    "${launch[@]}" "$root/.venv/bin/asr" "$@"
}
python() { "$root/.venv/bin/python" "$@"; }

usage() {
    local name source="default: downloads it to downloads/$recipe" run=runs/$recipe${extra[language]+-LANGUAGE}
    [[ -z ${extra[live]-} ]] || run="$run, of --live yes $run-live"
    [[ -z $page ]] || source="get it by hand here: $page"
    printf 'usage: recipes/%s/run.sh [OPTIONS] [key.path=value ...]\n\n' "$recipe"
    printf '  %-15s %s\n' --corpus\ DIR "the corpus ($source)" \
        --out\ DIR "the run folder (default: $run)" --seed\ N "of the training (default: 1)" \
        --device\ DEVICE "cpu or cuda, to train and decode on (default: cpu)" \
        --start\ STAGE "the first stage to do; those before it must be up to date" \
        --stop\ STAGE "the last stage to do" "STAGE" "${stages[*]}"
    for name in "${!extra[@]}"; do printf '  %-15s %s\n' "--$name VALUE" "default: ${extra[$name]}"; done
    printf '  %-15s %s\n\n' key.path=value "overrides the configuration, conf/$recipe.yaml"
    sed -n '2d; /^extra=/q; s/^# /  /p' "$root/recipes/$recipe/run.sh" # what its own options mean
}

recipe() { # NAME ARGUMENTS...
    recipe=$1 config=conf/$1.yaml
    options "${@:2}"
    local first last
    first=$(position "$start")
    last=$(position "$stop")
    ((first <= last)) || fail 2 "--start $start comes after --stop $stop"
    [[ $seed =~ ^[0-9]+$ ]] || fail 2 "--seed must be a whole number, got '$seed'"
    corpus_is_there
    [[ -n $corpus ]] || download=(--download)
    corpus=$(absolute "${corpus:-$root/downloads/$recipe}")
    local run=$recipe${extra[language]:+-${extra[language]}}
    [[ ${extra[live]-no} == no ]] || run+=-live # another model
    out=$(absolute "${out:-$root/runs/$run}")
    unheard=$out/data/valid.jsonl
    [[ -z ${extra[train]-} ]] || train_or_all
    [[ ${extra[from]-nothing} == nothing ]] || from=$(start_model "${extra[from]}")
    [[ ${extra[old-share]-0} == 0 ]] || blend_old
    "$root/tools/setup"
    cd "$root" || exit
}

corpus_is_there() {
    local cure="check --corpus, or leave it out to download the corpus"
    [[ -z $page ]] || cure="check --corpus"
    if [[ -z $corpus ]]; then
        [[ $page != http* ]] || fail 2 "--corpus is missing; no program can download it: get it by hand here: $page"
        [[ -z $page ]] || fail 2 "--corpus is missing; give the folder of your recordings, see $page"
    elif [[ -e $corpus && ! -d $corpus ]]; then
        fail 3 "--corpus '$corpus' is a file; give the folder that holds it"
    elif [[ ! -d $corpus ]]; then
        fail 3 "no corpus folder at '$corpus'; $cure"
    fi
}

choice() { # NAME VALUES...: fails if the option --NAME of this recipe has another value
    [[ " ${*:2} " == *" ${extra[$1]} "* ]] || fail 2 "--$1 must be one of ${*:2}; got '${extra[$1]}'"
}

first_file() { # FILES...: prints the first that is there, or else the last
    local file
    for file in "$@"; do [[ ! -f $file ]] || break; done
    printf '%s\n' "$file"
}

lock_run() { # the run folder is made by its first stage, when the command line is known to be right
    { mkdir -p "$out/stages" && exec 8>"$out/stages/lock"; } || fail 4 "cannot write to '$out'; choose another --out"
    [[ -n ${ASR_FOLLOW:-} ]] || ! command -v flock >/dev/null || flock --nonblock 8 ||
        fail 4 "another run is at work in '$out'; wait for it, or choose another --out"
    locked=yes
}

options() { # ARGUMENTS...
    while (($#)); do
        case $1 in
            -h | --help) usage && exit ;;
            --corpus | --out | --seed | --device | --start | --stop)
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

train_or_all() {
    [[ ${extra[train]} == train || ${extra[train]} == train_all ]] ||
        fail 2 "--train must be train or train_all, got '${extra[train]}'"
    # train_all holds valid; of the test recordings the confidence alone is looked at, not what they say
    [[ ${extra[train]} == train ]] || unheard=$out/data/test.jsonl
}

blend_old() {
    [[ ${extra[old-share]} =~ ^(1(\.0+)?|0?\.[0-9]+)$ ]] ||
        fail 2 "--old-share must be a number from 0 to 1, such as 0.3; got '${extra[old-share]}'"
    [[ -n $from ]] || fail 2 "--old-share goes back to the weights of another model; name it with --from"
    blended=(--old "$from" --old-share "${extra[old-share]}")
}

start_model() { # NAME|FILE|RUN: prints the path of the file or run folder
    local bundled=$root/asr/models/$1.safetensors
    [[ ! -f $bundled ]] || { printf '%s\n' "$bundled" && return; }
    [[ -e $1 ]] || fail 3 "--from '$1' is neither a bundled model, a file nor a run folder; check the path"
    absolute "$1"
}

stage() { # NAME [--input PATH]... [--output PATH]... [--state DIR] [--code FILE] -- COMMAND
    [[ -n $locked ]] || lock_run
    [[ -z ${ASR_FOLLOW:-} ]] || { follow "$@"; return; }
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

follow() { # as stage, on the other nodes of a training (recipes/cluster): the training alone; the first does the rest
    [[ $1 == train ]] || return 0
    while [[ $1 != -- ]]; do shift; done
    shift
    "$@" --resume 8>&- # goes on where the first node does: the state lies in the run folder, or there is none
}

model_stages() { # TRAIN.jsonl OPTIONS_OF_ASR_TOKENS...
    local train=$1 valid=$out/data/valid.jsonl tokens=$out/tokens.json model=$out/model.safetensors part
    local texts=() # what the tokens depend on
    local trained=(--seed "$seed") checked=(--config "$config") made_from=() place=()
    for part in "${overrides[@]}"; do [[ $part != text.* ]] || texts+=("$part"); done
    checked+=("${overrides[@]}")
    [[ -z $device ]] || place=(--device "$device")
    if [[ -n $from ]]; then
        trained+=(--from "$from") checked=(--model "$from") made_from+=(--input "$from")
    fi
    if (($# > 1)); then
        stage tokens --input "$config" --input "$train" ${lexicon:+--input "$lexicon"} --output "$tokens" \
            -- asr tokens --config "$config" "$train" "${texts[@]}" "${@:2}" ${lexicon:+--lexicon "$lexicon"} \
            --out "$tokens"
        trained+=(--tokens "$tokens") checked+=(--tokens "$tokens") made_from+=(--input "$tokens")
    fi
    check_stages
    stage train --input "$config" --input "$corpus" "${made_from[@]}" --input "$train" --input "$valid" \
        --output "$out/checkpoints" --output "$out/train.receipt.json" --state "$out/checkpoints" \
        -- asr train "$config" "${overrides[@]}" --train "$train" --valid "$valid" --out "$out" "${trained[@]}" \
        "${place[@]}"
    stage average --input "$out/checkpoints" --input "$corpus" --input "$unheard" "${made_from[@]}" --output "$model" \
        -- asr average "$out" "${blended[@]}" --domain "$unheard" --out "$model"
    for part in "${scored[@]}"; do
        stage "decode.$part" --input "$model" --input "$corpus" --input "$out/data/$part.jsonl" \
            --output "$out/$part.hyp.jsonl" \
            -- asr decode "$out/data/$part.jsonl" --model "$model" --out "$out/$part.hyp.jsonl" \
            ${lexicon:+--beam 100} "${place[@]}"
    done
    for part in "${scored[@]}"; do
        stage "score.$part" --input "$out/data/$part.jsonl" --input "$out/$part.hyp.jsonl" --input "$tokens" \
            --output "$out/$part.score.json" \
            -- asr score "$out/data/$part.jsonl" "$out/$part.hyp.jsonl" --tokens "$tokens" --case lower \
            --out "$out/$part.score.json"
    done
}

language_model_stages() { # TRAIN.jsonl HELD_OUT: a 3-gram of its texts, and the test part scored with it
    # its weights are tuned on valid where HELD_OUT is yes: where the model was not trained on valid
    local train=$1 held_out=$2 valid=$out/data/valid.jsonl test=$out/data/test.jsonl model=$out/model.safetensors
    local tokens=$out/tokens.json lm=$out/train.lm
    stage tokens.lm --input "$train" --input "$tokens" --output "$lm" -- asr lm train "$train" --model "$tokens" --out "$lm"
    if [[ $held_out == yes ]]; then
        stage average.lm --input "$lm" --input "$model" --input "$valid" --input "$corpus" --output "$out/tuned.lm" \
            -- asr lm tune "$lm" "$valid" --model "$model" --out "$out/tuned.lm"
        lm=$out/tuned.lm
    fi
    stage decode.lm --input "$lm" --input "$model" --input "$corpus" --input "$test" --output "$out/test-lm.hyp.jsonl" \
        -- asr decode "$test" --model "$model" --lm "$lm" --out "$out/test-lm.hyp.jsonl"
    stage score.lm --input "$test" --input "$out/test-lm.hyp.jsonl" --input "$tokens" --output "$out/test-lm.score.json" \
        -- asr score "$test" "$out/test-lm.hyp.jsonl" --tokens "$tokens" --case lower --out "$out/test-lm.score.json"
}

latency_stages() { # CHUNK+RIGHT...: the scores of a live model for each chunk and right context, in milliseconds
    local seen part context heard model=$out/model.safetensors
    for seen in "$@"; do
        context=(encoder.chunk_ms="${seen%+*}" encoder.right_context_ms="${seen#*+}")
        for part in "${scored[@]}"; do
            heard=$out/$part-$seen
            stage "decode.$part.$seen" --input "$model" --input "$corpus" --input "$out/data/$part.jsonl" \
                --output "$heard.hyp.jsonl" \
                -- asr decode "$out/data/$part.jsonl" --model "$model" --out "$heard.hyp.jsonl" "${context[@]}"
            stage "score.$part.$seen" --input "$out/data/$part.jsonl" --input "$heard.hyp.jsonl" \
                --input "$out/tokens.json" --output "$heard.score.json" \
                -- asr score "$out/data/$part.jsonl" "$heard.hyp.jsonl" --tokens "$out/tokens.json" --case lower \
                --out "$heard.score.json"
        done
    done
}

small_stages() { # NAME: the model with its matrices as int8, and the test part scored with it
    local small=$out/$1.safetensors test=$out/data/test.jsonl heard=$out/test-int8
    stage average.int8 --input "$out/model.safetensors" --output "$small" \
        -- asr average "$out/model.safetensors" --storage int8 --out "$small"
    stage decode.int8 --input "$small" --input "$corpus" --input "$test" --output "$heard.hyp.jsonl" \
        -- asr decode "$test" --model "$small" --out "$heard.hyp.jsonl" ${lexicon:+--beam 100}
    stage score.int8 --input "$test" --input "$heard.hyp.jsonl" --input "$out/tokens.json" --output "$heard.score.json" \
        -- asr score "$test" "$heard.hyp.jsonl" --tokens "$out/tokens.json" --case lower --out "$heard.score.json"
}

check_stages() { # reads and sets the variables of model_stages
    local part manifests=() inputs=()
    ((jobs == 1)) || checked+=(--jobs "$jobs")
    for part in "${scored[@]}"; do manifests+=("$out/data/$part.jsonl"); done
    if [[ $faulty == refuse ]]; then
        manifests=("$train" "${manifests[@]}")
    else
        stage check.train --input "$config" --input "$corpus" "${made_from[@]}" --input "$train" \
            --output "$out/data/clean.jsonl" --code asr/cli/check.py \
            -- clean_data "$train" "$out/data/clean.jsonl" "${checked[@]}"
        train=$out/data/clean.jsonl
        # What is scored must be heard, but may say what no token of the model writes: those are its errors.
        checked=(--config "$config" "${overrides[@]}" --jobs "$jobs")
    fi
    for part in "${manifests[@]}"; do inputs+=(--input "$part"); done
    stage check --input "$config" --input "$corpus" "${made_from[@]}" "${inputs[@]}" \
        --output "$out/data/check.txt" --code asr/cli/check.py -- check_data "${checked[@]}" "${manifests[@]}"
}

check_data() { # OPTIONS AND MANIFESTS: the report on the terminal, and in data/check.txt
    local code=0
    asr check "$@" >"$out/data/check.txt" || code=$?
    cat "$out/data/check.txt"
    return "$code"
}

clean_data() { # TRAIN.jsonl CLEAN.jsonl OPTIONS: the utterances without faults; the others in CLEAN.dropped.tsv
    local code=0 given kept report=$out/data/check.train.txt
    rm -f "$2"
    asr check "${@:3}" "$1" --fix "$2" >"$report" || code=$?
    cat "$report"
    [[ -s $2 ]] || return "$code"
    given=$(wc -l <"$1") kept=$(wc -l <"$2")
    ((100 * kept >= 98 * given)) ||
        fail 3 "$kept of $given utterances are without faults (see above), too few to go on; get the corpus again"
}

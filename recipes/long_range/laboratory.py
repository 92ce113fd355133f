"""Find out over how many steps each cell can remember, and how far back its gradient reaches."""

import argparse
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from asr.cli.main import Parser, guarded
from asr.errors import UsageError, did_you_mean, writing
from asr.nn.cells import CELL_NAMES
from asr.plots.gradients import draw_gradients
from asr.plots.reach import Attempt, draw_reach
from asr.receipts import collect, write
from asr.store import write_json
from recipes.long_range.tasks import TASKS
from recipes.long_range.training import Run, run_alone

LENGTHS = (30, 100, 300, 1000)
FURTHER = {1000: 2000}  # length -> where those go who solve it
GRADIENTS = ("adding", 300)  # whose gradients are drawn: the loss of adding stands at its last step alone
RUNAWAY = 10.0  # times the loss without a memory
OUT = Path(__file__).resolve().parents[2] / "runs" / "long_range"

Result = dict[str, Any]


def main() -> int:
    """Return the exit code."""
    parser = Parser(prog="recipes/long_range/run.sh", description=__doc__)
    lengths = ",".join(map(str, LENGTHS))
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of results (default: runs/long_range)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and sequences (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, each on one thread (default: 2)")
    parser.add_argument("--cells", default=",".join(CELL_NAMES), help="which, with commas (default: all)")
    parser.add_argument("--tasks", default=",".join(TASKS), help=f"which, with commas (default: {','.join(TASKS)})")
    parser.add_argument("--lengths", default=lengths, help=f"T, with commas (default: {lengths})")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of a run at most (default: 1000000)")
    return guarded("recipes/long_range", lambda: explore(parser.parse_args()))


def explore(options: argparse.Namespace) -> int:
    """Make the runs that are not made yet; print the table, write the receipt, draw the pictures."""
    started = time.time()
    planned = plan(options)
    with writing(options.out):  # to know before the first run and not after it
        (options.out / "runs").mkdir(parents=True, exist_ok=True)
    results = finished(planned, options)
    further = [go_further(result) for result in results if result["solved"] and result["run"]["length"] in FURTHER]
    results += finished(further, options)
    print(as_text(results))
    rows = [without_curves(result) for result in results]
    seconds = time.time() - started
    receipt = collect(sys.argv, config=None, seed=options.seed, inputs=[], result={"runs": rows}, wall_seconds=seconds)
    write(options.out / "long_range.receipt.json", receipt)
    draw(results, options.out)
    return 0


def plan(options: argparse.Namespace) -> list[Run]:
    """Return the runs, the short ones first.  Raises: UsageError for what cannot be run."""
    cells, tasks = options.cells.split(","), options.tasks.split(",")
    for option, names, known in (("--cells", cells, CELL_NAMES), ("--tasks", tasks, TASKS)):
        for name in names:
            if name not in known:
                raise UsageError(f"{option}: '{name}' is none{did_you_mean(name, known)}")
    for name, value, least in (("--jobs", options.jobs, 1), ("--steps", options.steps, 1), ("--seed", options.seed, 0)):
        if value < least:
            raise UsageError(f"{name} must be at least {least}, got {value}")
    lengths = options.lengths.split(",")
    for length in lengths:
        if not length.isdecimal() or int(length) < 2:
            raise UsageError(f"--lengths: '{length}' is no length; give whole numbers from 2, such as 100,300")
    return [
        Run(task, cell, length, options.seed, options.steps)
        for length in sorted({int(length) for length in lengths})
        for task in tasks
        for cell in cells
    ]


def go_further(result: Result) -> Run:
    """Return the run of the next length."""
    return Run(**{**result["run"], "length": FURTHER[result["run"]["length"]]})


def finished(runs: Sequence[Run], options: argparse.Namespace) -> list[Result]:
    """Return what the runs came to, those made now that are not yet, in processes that end with this one."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(options.jobs, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    paths = [options.out / "runs" / f"{run.name}.json" for run in runs]
    try:
        return list(pool.map(result_of, runs, paths))
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def result_of(run: Run, path: Path) -> Result:
    """Return what a run came to, from its file if that is of the same run."""
    if path.is_file():
        found: Result = json.loads(path.read_text("utf-8"))
        if found["run"] == asdict(run):
            return found
    result = run_alone(run)
    write_json(path, result)
    print(f"{run.task} {run.length} {run.cell}: {as_cell(result)}", file=sys.stderr, flush=True)
    return result


def as_cell(result: Result | None) -> str:
    """Return a result in a word: the updates until it was solved, or what is left of the error without a memory."""
    if result is None:
        return ""
    if result["solved"]:
        return f"**{result['updates']:,}**"
    left = None if result["error"] is None else result["error"] / result["baseline"]
    return "ran away" if left is None or left > RUNAWAY else f"{left:.2f}"


def as_text(results: Sequence[Result]) -> str:
    """Return a Markdown table, a row for each task and cell, a column for each length."""
    lengths = sorted({result["run"]["length"] for result in results})
    found = {(result["run"]["task"], result["run"]["cell"], result["run"]["length"]): result for result in results}
    lines = [
        "| task | cell | " + " | ".join(f"T = {length:,}" for length in lengths) + " |",
        "|---" * (2 + len(lengths)) + "|",
    ]
    for task, cell in dict.fromkeys((task, cell) for task, cell, _ in found):
        cells = " | ".join(as_cell(found.get((task, cell, length))) for length in lengths)
        lines.append(f"| {task} | `{cell}` | {cells} |")
    return "\n".join(lines)


def without_curves(result: Result) -> Result:
    """Return a result whose gradients are only what is left of each at the first step, in parts of the last step's."""
    kept = {name: value for name, value in result.items() if not name.startswith("gradient")}
    left = {name: result[name][-1] for name in ("gradient_at_start", "gradient_after")}
    return kept | {"gradient_left": left}


def draw(results: Sequence[Result], out: Path) -> None:
    """Draw both pictures.  Raises: MachineError if matplotlib is missing."""
    attempts: dict[str, dict[str, list[Attempt]]] = {}
    for result in results:
        run = result["run"]
        of_task = attempts.setdefault(run["task"], {})
        of_task.setdefault(run["cell"], []).append(Attempt(run["length"], result["solved"]))
    settings = f"seed {run['seed']}, at most {run['steps']:,} steps a run"
    draw_reach(attempts, out / "reach.png", title=f"over how many steps a cell remembers ({settings})")
    task, wanted = GRADIENTS
    lengths = {result["run"]["length"] for result in results if result["run"]["task"] == task}
    if not lengths:
        return
    length = min(lengths, key=lambda each: abs(each - wanted))
    shown = [result for result in results if (result["run"]["task"], result["run"]["length"]) == (task, length)]
    lines = {
        when: {result["run"]["cell"]: result[key] for result in shown}
        for when, key in (("at the start", "gradient_at_start"), ("after training", "gradient_after"))
    }
    draw_gradients(
        lines, out / "gradients.png", title=f"gradient of the last step's loss: {task}, T = {length:,} ({settings})"
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends the processes, too, as Ctrl-C does
    sys.exit(main())

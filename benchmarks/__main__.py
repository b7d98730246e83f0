"""`python -m benchmarks [--quick] [--rows NAME …]`: run the rows and print the table."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.harness import PATIENCE, limit_threads, machine, measure, table, write

ROWS = {
    "mdsm-mlp": "mdsm_mlp",
    "langevin-2d": "langevin_2d",
    "langevin-64d": "langevin_64d",
    "mdsm-conv": "mdsm_conv",
    "score-matching-exact": "score_matching_exact",
    "score-matching-exact-torch": "score_matching_exact_torch",
    "score-matching-exact-by-hand": "score_matching_exact_by_hand",
    "score-matching-sliced": "score_matching_sliced",
    "memory-mnist": "memory",
    "memory-exact-256": "memory_exact",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter repeats and five rounds")
    parser.add_argument(
        "--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME", help=", ".join(ROWS)
    )
    parser.add_argument("--threads", type=int, help="CPUs and threads of both sides (default: all)")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds to wait for quiet, per row")
    parser.add_argument("--out", type=Path, help="folder for results.json and results.md")
    options = parser.parse_args()

    threads = limit_threads(options.threads)  # before JAX and PyTorch are imported
    import torch

    torch.set_num_threads(threads)
    about = machine(threads)
    measured = []
    for name in options.rows:
        module = importlib.import_module(f"benchmarks.{ROWS[name]}")
        if name == module.__dict__.get("NAME"):
            measured.append(module.measure_memory(options.quick))
        else:
            measured.append(measure(module.ROW, quick=options.quick, patience=options.patience))
        print(table(measured[-1:]).splitlines()[-1], flush=True)
        if options.out is not None:
            write(options.out, measured, about)
    print("\n" + table(measured))


if __name__ == "__main__":
    main()

"""`python -m benchmarks [--quick] [--rows NAME …]`: run the rows and print the table."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.harness import PATIENCE, figures, limit_threads, machine, measure, table, write

ROWS = {
    "mdsm-mlp": "mdsm_mlp",
    "langevin-2d": "langevin_2d",
    "langevin-64d": "langevin_64d",
    "mdsm-conv": "mdsm_conv",
    "score-matching-exact": "score_matching_exact",
    "score-matching-exact-torch": "score_matching_exact_torch",
    "score-matching-exact-by-hand": "score_matching_exact_by_hand",
    "score-matching-sliced": "score_matching_sliced",
    "hmc-2d": "hmc_2d",
    "hmc-64d": "hmc_64d",
    "replay-2d": "replay_2d",
    "replay-64d": "replay_64d",
    "replay-64d-cores": "replay_64d_cores",
    "rbm-pcd": "rbm_pcd",
    "rbm-pcd-float32": "rbm_pcd_float32",
    "nce": "nce",
    "conditional-nce": "conditional_nce",
    "ica-seeds": "ica_seeds",
    "ksd": "ksd",
    "lsd-test": "lsd_test",
    "ais": "ais",
    "ais-10000": "ais_long",
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
    parser.add_argument(
        "--busy", action="store_true", help="one thread, CPU seconds, no waiting: for a machine never quiet"
    )
    parser.add_argument("--out", type=Path, help="folder for results.json and results.md")
    options = parser.parse_args()

    threads = limit_threads(1 if options.busy else options.threads)  # before JAX and PyTorch are imported
    import torch

    torch.set_num_threads(threads)
    about = machine(threads) | {"seconds": "of this process's CPU" if options.busy else "of the clock"}
    measured = []
    for name in options.rows:
        module = importlib.import_module(f"benchmarks.{ROWS[name]}")
        if name == module.__dict__.get("NAME"):
            measured.append(module.measure_memory(options.quick))
        else:
            how = {"quick": options.quick, "patience": options.patience, "busy": options.busy}
            measured.append(measure(module.ROW, **how))
        print(table(measured[-1:]).splitlines()[-1], flush=True)
        if options.out is not None:
            write(options.out, measured, about)
    print("\n" + table(measured) + "\n\n" + figures(measured))


if __name__ == "__main__":
    main()

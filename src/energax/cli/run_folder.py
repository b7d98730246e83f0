"""A run's folder: what is in it, how it is made without harm, and how it is opened again.

    config.json         the resolved configuration; locked by the process that trains the run
    run.json            facts: when, with what versions, on which data (a SHA-256), how far
    metrics.jsonl       one record of metrics per line
    checkpoints/        the whole state of the fit, every so many steps
    model.safetensors   the energy with its preprocessing: all that using it takes
    flow.safetensors    the flow that a flow-contrastive run told its energy from
    evaluation/         what `energax evaluate` found, for the report
    samples.*, annealing.png, energy.*, report.html    from later commands

A folder appears under its name only with both JSON files in it, so that a process killed at
any moment leaves either nothing of that name or a run that can be resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energax.checks import InputError, check
from energax.config import RunConfig, from_dict, to_dict
from energax.files import write_whole

if TYPE_CHECKING:
    import numpy as np

    from energax.data import Dataset
    from energax.training.modelfile import ModelFile

__all__ = ["RunFolder", "check_free", "fingerprint"]


def fingerprint(rows: np.ndarray) -> str:
    """Return the SHA-256 of an array's type, shape and bytes."""
    digest = hashlib.sha256(f"{rows.dtype.str}{rows.shape}".encode())
    digest.update(rows.tobytes())
    return digest.hexdigest()


def check_free(owner: str, path: Path, hint: str = "", flag: str = "--out") -> None:
    """Refuse a folder that holds anything, anything that is no folder, and one that cannot be made."""
    try:
        used = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    except OSError as error:
        raise InputError(
            f"{owner}: {flag} must be a folder that can be read; got {path}: {error.strerror}."
        ) from None
    check(not used, owner, flag, f"a new or empty folder{hint}", f"{path}, which is in use")
    try:
        # Rights do not tell what a file system allows: only trying does, in what there is above.
        above = next(folder for folder in path.absolute().parents if folder.exists())
        Path(tempfile.mkdtemp(prefix=f".{path.name[:50]}-", dir=above)).rmdir()
    except OSError as error:
        raise InputError(f"{owner}: the run folder {path} cannot be made: {error.strerror}.") from None


class RunFolder:
    """One run on disk.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self._data: Dataset | None = None
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.model = path / "model.safetensors"
        self.flow = path / "flow.safetensors"
        self.report = path / "report.html"
        self.evaluation = path / "evaluation"

    @classmethod
    def create(
        cls,
        path: Path,
        config: RunConfig,
        facts: Mapping[str, Any],
        *,
        owner: str = "train",
        fill: Callable[[RunFolder], None] | None = None,
    ) -> RunFolder:
        """Make the folder with its two JSON files, all at once.

        Parameters
        ----------
        path, config, facts
            Where, and what the two files say.
        owner
            Who asks, for the refusing sentence.
        fill
            Writes what else the folder is to appear with: a run that is made in one go appears whole.

        Raises
        ------
        InputError
            If the folder is in use or cannot be made.
        """
        hint = " (or use --resume to continue a run)" if owner == "train" else ""
        check_free(owner, path, hint)
        building = path.parent / f".{path.name}-{os.getpid()}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            building.mkdir()
            run = cls(building)
            run._write("config.json", to_dict(config))
            run._write("run.json", facts)
            if fill is not None:
                fill(run)
            building.replace(path)  # atomic; succeeds over nothing or over an empty folder
        except OSError as error:
            raise InputError(f"{owner}: the run folder {path} cannot be made: {error.strerror}.") from None
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path, owner: str) -> RunFolder:
        """Return the run in a folder.

        Raises
        ------
        InputError
            If it is not one; runs beside it are named.
        """
        run = cls(path)
        if not (path / "config.json").is_file():
            # A folder of runs is named in place of one of them, or one's name is misspelled.
            found = {
                folder: sorted(p.parent.name for p in folder.glob("*/config.json"))
                for folder in (path, path.parent)
                if folder.is_dir()
            }
            folder, others = next(((f, names) for f, names in found.items() if names), (path, []))
            hint = f" (there are {', '.join(others[:5])} in {folder})" if others else ""
            what = "no such folder" if not path.exists() else "one without config.json"
            check(False, owner, "RUN", f"a folder made by `energax train`{hint}", f"{path}, {what}")
        return run

    @property
    def config(self) -> RunConfig:
        """The configuration it was made with."""
        values = self._read("config.json")
        try:
            return from_dict(values)
        except InputError as error:
            raise InputError(f"{self.path / 'config.json'} is damaged: {error}") from None

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json says."""
        return self._read("run.json")

    def add_facts(self, **facts: Any) -> None:
        """Change entries of run.json."""
        self._write("run.json", {**self.facts, **facts})

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training this run; a killed one holds nothing.

        Raises
        ------
        InputError
            If another process does.
        """
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            yield
            return
        with open(self.path / "config.json") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                allowed = "a run that no other process is training"
                check(False, "train", "RUN", allowed, f"{self.path}, which one is")
            except OSError:  # a file system without them
                pass
            yield

    @property
    def latest(self) -> int | None:
        """Step of the newest checkpoint, or None."""
        names = [p.name.removeprefix("step_") for p in self.checkpoints.glob("step_*") if p.is_dir()]
        return max((int(name) for name in names if name.isdigit()), default=None)

    @property
    def steps(self) -> int:
        """How many steps are done, as far as the checkpoints and the log say."""
        from energax.training.log import read_metrics

        records = read_metrics(self.metrics) if self.metrics.is_file() else []
        last = records[-1] if records else {}
        return max(self.latest or 0, int(last.get("step", 0)))

    def load_model(self, owner: str) -> ModelFile:
        """Return the energy, its preprocessing and what is known about it."""
        from energax.training.modelfile import load

        if not self.model.exists():
            check(False, owner, "RUN", f"a run with a model ({self.onward})", self.path)
        return load(self.model)

    def load_data(self) -> Dataset:
        """Return the data it was trained on.

        Raises
        ------
        InputError
            If they are gone, or their training rows are no longer the same.
        """
        if self._data is not None:
            return self._data
        from energax.data import load

        config, known = self.config, self.facts.get("data", {})
        if not {"sha256", "rows"} <= known.keys():
            raise InputError(f"{self.path / 'run.json'} is damaged: it does not say what the run began with.")
        dataset = load(config.data, seed=config.seed)
        same = fingerprint(dataset.train) == known["sha256"]
        allowed = f"the {known['rows']} rows that {self.path} began with (their SHA-256 is in run.json)"
        check(same, "train", "the data", allowed, f"other rows from {config.data}")
        self._data = dataset
        return dataset

    @property
    def diverged(self) -> bool:
        """Whether its fit diverged; going on from where it was would bring it there again, bit for bit."""
        return self.facts.get("status") == "diverged"

    @property
    def onward(self) -> str:
        """How an unfinished run comes to a model."""
        if self.diverged:
            return (
                "the same settings diverge again: train anew with a smaller --learning-rate, or with "
                "--set fit.on_divergence=rollback"
            )
        return f"to continue: {self.resume_command}"

    @property
    def resume_command(self) -> str:
        """What to type to go on with it."""
        return f"energax train --resume {shlex.quote(str(self.path))}"

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            values = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not valid JSON"
            raise InputError(f"{path} cannot be read: {reason}.") from None
        check(isinstance(values, dict), str(path), "its content", "a JSON object", type(values).__name__)
        return values

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        write_whole(self.path / name, lambda path: path.write_text(text))

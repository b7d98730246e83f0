"""The one loop, and what comes out of it.

One step is compiled and repeated; between chunks of steps, and only there, the loop looks at the
metrics, goes back if they tell of trouble, writes records and checkpoints, and answers Ctrl-C.
Resuming is exact: the rows of a step are a function of (seed, step), its draws of fold_in(key, step),
and the whole state is in the checkpoint, so a fit that was killed and resumed ends in the same bits.
"""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from energax.checks import check
from energax.config import FitConfig
from energax.data import Transform
from energax.devices import gather
from energax.energies import WithLogNormalizer
from energax.loops import compiles_loop
from energax.objectives import Batch, LogNormalizer, Objective
from energax.progress import ProgressBar
from energax.training.checkpoint import Checkpoints
from energax.training.health import Diagnosis, Monitor
from energax.training.log import MetricsLog
from energax.training.mesh import core_mesh, data_mesh, place, require_whole_chains
from energax.training.order import rows_of_steps
from energax.training.rollback import STRIDE, Copy, DivergenceError, changed, copied
from energax.training.state import FitState, averaged, seen, start
from energax.training.step import Constants, advance, advance_once, loss_shapes, validate
from energax.typing import Key, Model

__all__ = ["Fit", "Loop"]

CHUNK_SECONDS = 0.5  # how long a compiled chunk should take, so that the bar moves and Ctrl-C works


@dataclass(frozen=True)
class Fit:
    """What `fit` returns.

    Parameters
    ----------
    energy
        The model with its averaged parameters (the last ones if the average is off).
    last
        The model with its last parameters.
    nuisance
        What was learned beside the model (its average, as for `energy`).
    state
        The whole state, as checkpointed.
    history
        One record of metrics per `log_every` steps; each has `step`, the updates made. Where the
        fit was rolled back to, a record of that: see `rollbacks`.
    config
        The configuration used.
    status
        "finished", "interrupted" by Ctrl-C (the state is whole, and checkpointed if a folder was
        given), or "diverged" (of a `DivergenceError`).
    loop
        "compiled" or "host": where the loop over steps ran.
    """

    energy: Any
    last: Any
    nuisance: Any
    state: FitState
    history: list[dict[str, Any]]
    config: FitConfig
    status: str
    loop: str

    @property
    def density(self) -> WithLogNormalizer:
        """The energy with the log Z that was learned beside it: `density.log_prob(x)` in nats.

        Raises
        ------
        InputError
            If the objective learns no log Z.
        """
        learned = isinstance(self.nuisance, LogNormalizer)
        wanted = "one that learns log Z, such as NoiseContrastiveEstimation"
        check(learned, "Fit.density", "the objective", wanted, "one that does not")
        return WithLogNormalizer(self.energy, self.nuisance.value)

    @property
    def rollbacks(self) -> list[dict[str, Any]]:
        """The records of rollbacks: to which `step`, with what `diagnosis`, what was `changed`."""
        return [record for record in self.history if "rollback" in record]


class Loop:
    """The moving parts of one call of `fit`."""

    def __init__(
        self,
        model: Model,
        objective: Objective,
        data: Batch,
        held_out: Batch | None,
        preprocessing: Transform | None,
        config: FitConfig,
        mesh: Mesh | None,
        key: Key,
    ):
        order_key, state_key, self.validation_key = jax.random.split(key, 3)
        self.seed = int(jax.random.bits(order_key, dtype=jnp.uint32))
        self.objective, self.config = objective, config
        self.static = eqx.filter(model, eqx.is_array, inverse=True)
        state = start(model, objective, seen(data, preprocessing, state_key), config, state_key)
        self.lay(data_mesh() if mesh is None else mesh, data, held_out, preprocessing, state)
        self.compiled = compiles_loop(*loss_shapes(self.constants(0, 1), self.state))
        if mesh is None and not self.compiled:
            self.lay(core_mesh(state, config.batch_size), data, held_out, preprocessing, state)
        self.done = 0
        self.status = "running"
        self.rows: list[dict[str, np.ndarray]] = []  # of steps that are not yet in a record
        self.monitor = Monitor()
        self.healthy: Copy | None = self.copy()
        self.candidate: Copy | None = None  # a copy whose own step has not been seen yet
        self.owed = False  # a checkpoint fell due while there was a sign
        self.earlier: int | None = None  # the checkpoint that is healthy while no copy is

    def lay(
        self,
        mesh: Mesh,
        data: Batch,
        held_out: Batch | None,
        preprocessing: Transform | None,
        state: FitState,
    ) -> None:
        """Put everything on the devices of a mesh."""
        require_whole_chains(state, mesh)
        self.mesh = mesh
        self.data = place(data, mesh)
        self.preprocessing = None if preprocessing is None else place(preprocessing, mesh)
        self.held_out = None if held_out is None else place(held_out, mesh)
        self.state = place(state, mesh)

    def restore(self, store: Checkpoints) -> None:
        """Go on from the newest checkpoint."""
        self.state = store.restore(self.state)
        self.done = int(self.state.step)
        self.monitor = Monitor(self.state.health)
        # The copies that an uninterrupted fit would have: at the steps that `copy_due` names.
        self.healthy = self.copy()
        self.earlier = store.before(self.done)
        if self.earlier is not None:
            self.candidate = self.healthy if self.copy_due() else None
            self.healthy = None

    def copy(self, metrics: dict[str, float] | None = None) -> Copy:
        """Return a copy to go back to, with the metrics of the checkpoint it is to become, if any."""
        state = copied(self.state, self.mesh)
        return Copy(state, self.monitor.memory, self.done, list(self.rows), metrics)

    def copy_due(self) -> bool:
        """Whether a copy is taken after this step."""
        every = self.config.checkpoint_every or self.config.steps
        return self.done % STRIDE == 0 or self.done % every == 0

    def constants(self, first: int, stop: int) -> Constants:
        """Return what the steps from `first` to before `stop` read."""
        config, batches = self.config, self.objective.batches
        rows = rows_of_steps(self.seed, first, stop, batches * config.batch_size, len(self.data))
        # One shape for every chunk, so that chunks of every length share one program.
        padded = np.zeros((config.log_every, batches, config.batch_size), np.int32)
        padded[: stop - first] = rows.reshape(stop - first, batches, config.batch_size)
        return Constants(
            self.static,
            self.objective,
            config,
            self.mesh,
            self.data,
            self.preprocessing,
            *place((padded, np.asarray(first, np.int32)), self.mesh),
        )

    def run(self, log: MetricsLog, store: Checkpoints | None, progress: bool | None) -> None:
        """Descend to the last step, or to Ctrl-C; raise `DivergenceError` where the fit ends before."""
        config = self.config
        every = config.checkpoint_every or config.steps
        pace = 0.0  # seconds a step takes
        if store is not None and store.latest is None and config.keep != "best":
            store.save(self.state, 0, {})
        with ProgressBar(progress, self.done, config.steps) as bar, _interrupts() as interrupted:
            while self.done < config.steps and not interrupted.is_set():
                edge = min(*(_after(self.done, n) for n in (config.log_every, every, STRIDE)), config.steps)
                wanted = max(1, int(CHUNK_SECONDS / pace)) if pace else 1
                if jax.process_count() > 1:  # hosts keep different time, but must take the same chunks
                    wanted = config.steps
                stop = min(edge, self.done + wanted)
                began, first = time.perf_counter(), self.done
                diagnosis = self.watch(self.chunk(stop), store)
                if diagnosis is None and self.done == config.steps:
                    diagnosis = self.monitor.at_end(self.done - 1)
                if diagnosis is not None:
                    self.recover(diagnosis, log, store)
                    continue
                pace = (time.perf_counter() - began) / (stop - first)
                bar.update(self.done, float(self.rows[-1]["loss"]))

                ended, due = self.done == config.steps, self.done % every == 0
                extra = self.validate() if due or ended else {}
                # At a checkpoint, too: a resumed fit has no rows from before it.
                if self.done % config.log_every == 0 or ended or due:
                    rows = self.rows
                    means = {name: np.mean([row[name] for row in rows], axis=0) for name in rows[0]}
                    log.write(self.done, {**means, **extra})
                    rows.clear()
                if ended:
                    self.state = self.remembered()
                    if store is not None:
                        store.save(self.state, self.done, extra)
                elif self.copy_due():
                    self.owed = due or (self.owed and config.keep != "best")
                    if not self.monitor.sign:
                        self.candidate = self.copy(extra if self.owed else None)
        self.status = "finished" if self.done == config.steps else "interrupted"
        if self.status == "interrupted":
            self.interrupted(store)

    def watch(self, rows: list[dict[str, np.ndarray]], store: Checkpoints | None) -> Diagnosis | None:
        """Show the monitor each step's metrics; return what it finds, `done` being that step."""
        for row in rows:
            diagnosis = self.monitor.see(self.done, row)
            if diagnosis is not None:
                return diagnosis
            if self.candidate is not None and not self.monitor.sign:
                self.healthy = self.candidate
                if store is not None and self.healthy.metrics is not None:
                    store.save(self.remembered(self.healthy), self.healthy.step, self.healthy.metrics)
                    self.owed = False
            self.candidate = None
            self.rows.append(row)
            self.done += 1
        return None

    def recover(self, diagnosis: Diagnosis, log: MetricsLog, store: Checkpoints | None) -> None:
        """Go back to the last healthy state and change what is named; or stop there."""
        if self.healthy is None:
            assert store is not None
            assert self.earlier is not None
            state = store.restore(self.state, self.earlier)
            self.healthy = Copy(state, Monitor(state.health).memory, self.earlier)
        config, healthy = self.config, self.healthy
        if config.on_divergence == "stop" or int(healthy.state.rollbacks) >= config.rollbacks:
            stopped, self.state, self.done = self.remembered(), self.remembered(healthy), healthy.step
            self.status = "diverged"
            latest, folder = None, ""
            if store is not None:
                if config.keep != "best":
                    store.save(self.state, self.done, {})
                latest, folder = store.latest, str(store.folder)
            raise DivergenceError(diagnosis, latest, folder, self.result(log.records), stopped)

        def init(state: FitState, key: Key) -> Any:
            model = eqx.combine(state.model, self.static)
            rows = seen(self.data, self.preprocessing, key)
            return self.objective.init(model, rows, key, config.batch_size)[1]

        self.healthy, record = changed(healthy, diagnosis, self.mesh, init)
        self.state = copied(self.healthy.state, self.mesh)
        self.done, self.rows, self.candidate = self.healthy.step, list(self.healthy.rows), None
        self.monitor = Monitor(self.healthy.memory)
        log.rewind(self.done)
        log.note(record)

    def remembered(self, copy: Copy | None = None) -> FitState:
        """Return the state (of a copy) with what the monitor remembers (remembered then)."""
        state, memory = (self.state, self.monitor.memory) if copy is None else (copy.state, copy.memory)
        return dataclasses.replace(state, health=place(memory, self.mesh))

    def interrupted(self, store: Checkpoints | None) -> None:
        """Keep what is needed to go on as if nothing had happened."""
        self.state = self.remembered()
        if store is None:
            return
        if self.config.on_divergence == "rollback" and self.healthy is not None:
            store.save(self.remembered(self.healthy), self.healthy.step, {})
        if not self.monitor.sign:
            store.save(self.state, self.done, {})

    def chunk(self, stop: int) -> list[dict[str, np.ndarray]]:
        """Advance to `stop` and return one row of metrics per step."""
        constants = self.constants(self.done, stop)
        count = stop - self.done
        if self.compiled:
            bounds = place((np.asarray(self.done, np.int32), np.asarray(stop, np.int32)), self.mesh)
            self.state, history = advance((constants, *bounds), self.state)
            table = jax.tree.map(np.asarray, history)
            return [{name: values[i] for name, values in table.items()} for i in range(count)]
        rows = []
        for i in range(self.done, stop):
            at = place(np.asarray(i, np.int32), self.mesh)
            self.state, metrics = advance_once((constants, at), self.state)
            rows.append(metrics)
        return [jax.tree.map(np.asarray, row) for row in rows]

    def validate(self) -> dict[str, float]:
        """Return the held-out loss of the averaged model: whole batches, the same draws each time."""
        if self.held_out is None:
            return {}
        model, nuisance = self.learned()
        learned = nuisance, self.state.state
        size, n = self.config.batch_size, len(self.held_out)
        losses = []
        for b in range(-(-n // size)):
            rows = (np.arange(size) + b * size) % n
            batch = jax.tree.map(lambda a, rows=rows: a[rows], self.held_out)
            key = jax.random.fold_in(self.validation_key, b)
            losses.append(validate(model, self.objective, self.mesh, self.preprocessing, learned, batch, key))
        return {"validation_loss": float(np.mean([np.asarray(loss) for loss in losses]))}

    def learned(self) -> tuple[Model, Any]:
        """Return the averaged model and nuisance."""
        return averaged(self.state, self.static, self.config)

    def result(self, records: list[dict[str, Any]]) -> Fit:
        """Return what `fit` does."""
        found = (*self.learned(), eqx.combine(self.state.model, self.static))
        # From a CPU's cores back to one, so that what is computed of them is not computed on each.
        cores = jax.default_backend() == "cpu" and jax.process_count() == 1
        energy, nuisance, last = gather(found) if cores else found
        return Fit(
            energy=energy,
            last=last,
            nuisance=nuisance,
            state=self.state,
            history=list(records),
            config=self.config,
            status=self.status,
            loop="compiled" if self.compiled else "host",
        )


def _after(done: int, every: int) -> int:
    """Return the first multiple of `every` beyond `done`."""
    return (done // every + 1) * every


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn Ctrl-C into a flag that is read between chunks; a second one raises as usual.

    A step donates its buffers, so an exception inside it would leave nothing to save.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)

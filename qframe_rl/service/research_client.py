"""The client's part of research and jobs: runs, their curves, trials, the catalogue, and work that a worker does."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from qframe_rl.service import page_shapes, shapes
from qframe_rl.service.connection import ServiceConnection, many
from qframe_rl.service.jobs import JobSpec


class ResearchClient(ServiceConnection):
    """What a service knows of research, and its jobs."""

    def runs(self) -> list[shapes.RunOut]:
        """Trainings, studies and searches, newest first."""
        return many(shapes.RunOut, self._asked("GET", "/runs"))

    def run(self, run: str) -> page_shapes.RunDetail:
        """What a run is, how far it is, and the verdict on what it came to."""
        return page_shapes.RunDetail(**self._asked("GET", f"/runs/{run}"))

    def curves(self, run: str, points: int = 400) -> page_shapes.RunCurves:
        """Curves of a run's trainings, also while they are written, thinned out to so many points each."""
        return page_shapes.RunCurves(**self._asked("GET", f"/runs/{run}/curves", points=points))

    def trials(self) -> list[page_shapes.TrialsOut]:
        """What was ever scored on each data set, and what luck alone would show there."""
        return many(page_shapes.TrialsOut, self._asked("GET", "/trials"))

    def compare(self, of: Sequence[str], window: int = 720, points: int = 1000) -> list[dict[str, Any]]:
        """Curves side by side: ``session:ID``, ``run:ID:RECORD``, ``checkpoint:ID``.

        Parameters
        ----------
        of
            Which, 12 at most.
        window
            Bars of the moving Sharpe ratio.
        points
            How many of each curve at most.
        """
        said = self._asked("GET", "/compare", of=",".join(of), window=window, points=points)
        return page_shapes.Comparison(**said).curves

    def checkpoints(self) -> list[shapes.CheckpointOut]:
        """Checkpoints of the list, newest first."""
        return many(shapes.CheckpointOut, self._asked("GET", "/checkpoints"))

    def strategies(self) -> list[dict[str, Any]]:
        """Strategies of the catalogue, each with the JSON Schema of its configuration."""
        return list(self._asked("GET", "/strategies"))

    def markets(self) -> list[dict[str, Any]]:
        """Markets of the catalogue, each with the JSON Schema of its configuration."""
        return list(self._asked("GET", "/markets"))

    def job_kinds(self) -> dict[str, list[str]]:
        """Kinds of jobs, and the options that each takes."""
        return dict(self._asked("GET", "/job-kinds"))

    def jobs(self) -> list[shapes.JobOut]:
        """The newest jobs, newest first."""
        return many(shapes.JobOut, self._asked("GET", "/jobs"))

    def job(self, job: str) -> shapes.JobOut:
        """One job."""
        return shapes.JobOut(**self._asked("GET", f"/jobs/{job}"))

    def job_log(self, job: str) -> Iterator[str]:
        """What a job has said so far, in pieces of a megabyte at most."""
        after = 0
        while (said := self._asked("GET", f"/jobs/{job}/log", after=after))["text"]:
            yield str(said["text"])
            after = int(said["next"])

    def ask_job(self, spec: JobSpec, key: str | None = None) -> shapes.JobOut:
        """Put a job into the queue.

        Parameters
        ----------
        spec
            What is to be done.
        key
            Given again, the job is there once; None = one of its own.
        """
        headers = {"idempotency-key": key or secrets.token_hex(16)}
        return shapes.JobOut(**self._asked("POST", "/jobs", spec.model_dump(mode="json"), headers=headers))

    def cancel_job(self, job: str) -> shapes.JobOut:
        """Ask for a job's end; its state says when it has ended."""
        return shapes.JobOut(**self._asked("DELETE", f"/jobs/{job}"))

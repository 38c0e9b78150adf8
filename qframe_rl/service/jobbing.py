"""Routes of jobs: work that a worker does."""

from __future__ import annotations

import codecs
from typing import Annotated, Any

from fastapi import Query

from qframe_rl.service import shapes
from qframe_rl.service.jobs import OPTIONS, Job, JobSpec, log_of
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.wiring import Employer, It, Key, Name, Reader, Service, once, routes, who

CHUNK = 1 << 20
jobbing = routes()


@jobbing.get("/jobs")
def jobs(it: It, _: Reader) -> list[shapes.JobOut]:
    """The newest jobs, newest first."""
    return [_told(it, one) for one in it.jobs.newest()]


@jobbing.get("/job-kinds")
def kinds(it: It, _: Reader) -> dict[str, list[str]]:
    """Kinds of jobs, and the options that each takes."""
    return {kind: list(options) for kind, options in OPTIONS.items()}


@jobbing.get("/jobs/{job}")
def one_job(it: It, _: Reader, job: Name) -> shapes.JobOut:
    """One job."""
    return _told(it, _job(it, job))


@jobbing.get("/jobs/{job}/log")
def log(it: It, _: Reader, job: Name, after: Annotated[int, Query(ge=0, le=2**40)] = 0) -> dict[str, Any]:
    """What a job has said, from byte ``after`` on: ``text``, at most a megabyte of it, and ``next`` to ask from.

    A character whose end is not there yet is told the next time.
    """
    path = log_of(it.store.folder, _job(it, job).id)
    if not path.is_file():
        return {"text": "", "next": after}
    with path.open("rb") as file:
        file.seek(after)
        said = file.read(CHUNK)
    reader = codecs.getincrementaldecoder("utf-8")("replace")
    text, begun = reader.decode(said), reader.getstate()[0]
    return {"text": text, "next": after + len(said) - len(begun)}


@jobbing.post("/jobs", status_code=201)
def ask(it: It, identity: Employer, given: JobSpec, key: Key = None) -> shapes.JobOut:
    """Put a job into the queue. With an Idempotency-Key it is there once."""

    def queue() -> shapes.JobOut:
        made = it.jobs.ask(given, who(identity))
        it.store.audit(who(identity), f"job {given.kind}", made.id, " ".join(given.names))
        return _told(it, made)

    return once(it, identity, key, f"job {given.model_dump_json()}", queue, shapes.JobOut)


@jobbing.delete("/jobs/{job}", status_code=202)
def cancel(it: It, identity: Employer, job: Name) -> shapes.JobOut:
    """Ask for a job's end; its state says when it has ended."""
    _job(it, job)
    found = it.jobs.cancel(job)
    assert found is not None
    it.store.audit(who(identity), "cancel job", job, found.state)
    return _told(it, found)


def _told(it: Service, job: Job) -> shapes.JobOut:
    return shapes.JobOut(**job.told() | {"why": it.without_paths(job.why)})


def _job(it: Service, job: str) -> Job:
    found = it.jobs.one(job)
    if found is None:
        raise ApiProblem(404, "there is no such job.")
    return found

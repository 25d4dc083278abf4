"""Whether two releases may run side by side, and tasks and data of one meet the other.

docs/decisions/0021 says what is refused, what is only told, and why.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, ValidationError

import nova
from nova.errors import InputError
from nova.operations import data_format
from nova.operations.schemas import takes_all_of
from nova.queues import QUEUES
from nova.schedule import SCHEDULE

if TYPE_CHECKING:
    from celery import Celery


class TaskManifest(BaseModel):
    """What publishers must know of a task."""

    queue: str
    arguments: dict[str, Any] = Field(description="JSON schema of its keyword arguments.")
    takes_others: bool = Field(default=False, description="Whether it takes arguments of any name.")


class EntryManifest(BaseModel):
    """One entry of the beat table."""

    task: str
    queue: str
    cron: str


class DataManifest(BaseModel):
    """Formats of data: see nova/operations/data_format.py."""

    writes: int
    reads: list[int]


class Manifest(BaseModel):
    """What one release has in common with others."""

    release: str
    queues: list[str]
    tasks: dict[str, TaskManifest]
    beat: dict[str, EntryManifest]
    data: DataManifest


class Change(BaseModel):
    """One difference between two releases."""

    kind: Literal["task", "queue", "argument", "beat", "data"]
    what: str = Field(description="Name of the task, of the entry, or `data`.")
    detail: str
    is_compatible: bool

    def line(self) -> str:
        """Return it as one line for people."""
        return f"{self.what}: {self.detail}"


def make_manifest(app: "Celery") -> Manifest:
    """Return the manifest of this release."""
    app.loader.import_default_modules()
    return Manifest(
        release=nova.__release__,
        queues=list(QUEUES),
        tasks={
            name: _describe(app, name) for name in sorted(app.tasks) if name.startswith("nova.")
        },
        beat={
            entry.name: EntryManifest(task=entry.task, queue=entry.queue, cron=entry.cron)
            for entry in SCHEDULE
        },
        data=DataManifest(writes=data_format.WRITES, reads=sorted(data_format.READS)),
    )


def _describe(app: "Celery", name: str) -> TaskManifest:
    arguments = app.tasks[name].arguments
    kinds = {parameter.kind for parameter in arguments.signature.parameters.values()}
    return TaskManifest(
        queue=app.amqp.router.route({}, name)["queue"].name,
        arguments=arguments.model.model_json_schema(by_alias=True),
        takes_others=any(kind.name == "VAR_KEYWORD" for kind in kinds),
    )


def parse_manifest(text: str, where: str) -> Manifest:
    """Read a manifest; `where` names it for the error.

    Raises:
        InputError: it is none.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the text"
        raise InputError(
            f"{where} is no manifest: {place}: {first['msg']}; "
            "write one with: nova release manifest"
        ) from None


def compare(old: Manifest, new: Manifest) -> list[Change]:
    """Return what differs, what is not compatible first."""
    changes = [
        *_compare_tasks(old, new),
        *_compare_beat(old, new),
        *_compare_data(old, new),
    ]
    return sorted(changes, key=lambda change: change.is_compatible)


def _compare_tasks(old: Manifest, new: Manifest) -> Iterator[Change]:
    for name in sorted(old.tasks.keys() | new.tasks.keys()):
        before, after = old.tasks.get(name), new.tasks.get(name)
        if after is None:
            detail = "removed, and old publishers and queues still have it"
            yield _refused("task", name, detail)
        elif before is None:
            detail = "added; old workers give it back until a new one takes it"
            yield _told("task", name, detail)
        else:
            yield from _compare_queues(name, before.queue, after.queue, old, new)
            yield from _compare_arguments(name, before, after)


def _compare_queues(
    name: str, before: str, after: str, old: Manifest, new: Manifest
) -> Iterator[Change]:
    if before == after:
        return
    if after not in old.queues:
        yield _refused(
            "queue", name, f"goes to the new queue {after}, which old workers do not serve"
        )
    elif before not in new.queues:
        yield _refused(
            "queue", name, f"comes from the queue {before}, which new workers do not serve"
        )
    else:
        yield _told("queue", name, f"goes to {after}, no longer to {before}")


def _compare_arguments(name: str, before: TaskManifest, after: TaskManifest) -> Iterator[Change]:
    old, new = _arguments(before), _arguments(after)
    for argument in sorted(old.keys() | new.keys()):
        if argument not in new:
            if after.takes_others:
                yield _told("argument", name, f"argument {argument}: no longer named, and taken")
            else:
                yield _refused(
                    "argument", name, f"argument {argument}: removed, and old publishers send it"
                )
        elif argument not in old:
            yield _compare_added(name, argument, is_required=new[argument][1])
        else:
            yield from _compare_argument(name, argument, old[argument], new[argument])


#: Of an argument: its schema, with what that refers to, and whether it must be given.
_Argument = tuple[dict[str, Any], bool]


def _arguments(task: TaskManifest) -> dict[str, _Argument]:
    shared = {"$defs": task.arguments.get("$defs", {})}
    required = task.arguments.get("required", [])
    return {
        name: ({**schema, **shared}, name in required)
        for name, schema in task.arguments.get("properties", {}).items()
    }


def _compare_added(name: str, argument: str, *, is_required: bool) -> Change:
    if is_required:
        detail = f"argument {argument}: added and required, and old publishers do not send it"
        return _refused("argument", name, detail)
    detail = f"argument {argument}: added; who sends it to an old worker meanwhile gets an error"
    return _told("argument", name, detail)


def _compare_argument(
    name: str, argument: str, before: _Argument, after: _Argument
) -> Iterator[Change]:
    (old, was_required), (new, is_required) = before, after
    prefix = f"argument {argument}: "
    if is_required and not was_required:
        detail = f"{prefix}required now, and old publishers may leave it out"
        yield _refused("argument", name, detail)
    elif was_required and not is_required:
        yield _told("argument", name, f"{prefix}optional now; old workers still need it")
    if not takes_all_of(new, old):
        detail = f"{prefix}takes less than before, and old publishers may send more"
        yield _refused("argument", name, detail)
    elif not takes_all_of(old, new):
        yield _told("argument", name, f"{prefix}takes more than before; old workers may not")
    if old.get("default") != new.get("default"):
        yield _told("argument", name, f"{prefix}another default; that of the worker counts")


def _compare_beat(old: Manifest, new: Manifest) -> Iterator[Change]:
    for name in sorted(old.beat.keys() | new.beat.keys()):
        before, after = old.beat.get(name), new.beat.get(name)
        if before == after:
            continue
        if before is None or after is None:
            yield _told("beat", name, "added" if before is None else "removed")
        else:
            words = [
                f"{field} {getattr(before, field)} -> {getattr(after, field)}"
                for field in EntryManifest.model_fields
                if getattr(before, field) != getattr(after, field)
            ]
            yield _told("beat", name, ", ".join(words))


def _compare_data(old: Manifest, new: Manifest) -> Iterator[Change]:
    for writer, reader in ((new, old), (old, new)):
        if writer.data.writes not in reader.data.reads:
            detail = (
                f"{writer.release} writes format {writer.data.writes}, "
                f"which {reader.release} cannot read"
            )
            yield _refused("data", "data", detail)
    if old.data.writes != new.data.writes:
        detail = f"format {old.data.writes} is written before, {new.data.writes} after"
        yield _told("data", "data", detail)


_Kind = Literal["task", "queue", "argument", "beat", "data"]


def _refused(kind: _Kind, what: str, detail: str) -> Change:
    return Change(kind=kind, what=what, detail=detail, is_compatible=False)


def _told(kind: _Kind, what: str, detail: str) -> Change:
    return Change(kind=kind, what=what, detail=detail, is_compatible=True)

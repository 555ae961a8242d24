"""``export``: a file of readings, made by the API and fetched from it, whole or not at all."""

from __future__ import annotations

import enum
import hashlib
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cli.api_client import ApiAwayError, ApiClient, ApiError, api_client
from cli.console import answers, errors
from cli.settings import load_settings

_LOOK_SECONDS = 0.5
_ATTEMPTS = 5  # without a byte in between


class FileFormat(enum.StrEnum):
    """What the file is; the API's own names."""

    PARQUET = "parquet"
    CSV_GZ = "csv.gz"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Analysis")(export)


def export(
    kind: Annotated[str | None, typer.Argument(help="Whose readings, such as air_quality.")] = None,
    start: Annotated[str, typer.Option(help="RFC 3339 with zone, or from now such as -P30D.")] = "-P1D",
    end: Annotated[str, typer.Option(help="Not part of the range itself.")] = "now",
    district: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    bbox: Annotated[str | None, typer.Option(help="Only within west,south,east,north in degrees.")] = None,
    near: Annotated[str | None, typer.Option(help="Only within longitude,latitude,metres.")] = None,
    polygon: Annotated[
        str | None, typer.Option(help='Only within a ring: "longitude,latitude longitude,latitude …".')
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only with name:value in their metadata; may be repeated.")
    ] = None,
    format: Annotated[FileFormat, typer.Option(help="What the file is.")] = FileFormat.PARQUET,  # noqa: A002
    output: Annotated[
        pathlib.Path | None, typer.Option("--output", "-o", help="The file; else KIND and the format.")
    ] = None,
    number: Annotated[
        int | None,
        typer.Option("--id", min=1, help="Fetch this export, asked for before, instead of a new one."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Let the API write all readings of one kind of sensor into a file, and fetch it.

    A download that breaks goes on where it was, also with --id in a later run; the file appears under its name
    only when it is whole and its checksum is right.

    [dim]Examples:[/]
      alatau export air_quality --start -P30D -o air.parquet
      alatau export noise --start 2026-11-01T00:00:00Z --end 2026-12-01T00:00:00Z --district gate --format csv.gz
      alatau export air_quality --near 77.0,43.48,2000 --tag pole:7
      alatau export --id 17 -o air.parquet
    """
    if (kind is None) == (number is None):
        raise typer.BadParameter("give a kind of sensor, such as air_quality, or --id of an export")
    if output is not None:
        _refuse_existing(output, overwrite=overwrite)
    asked = {
        "kind": kind,
        "start": start,
        "end": end,
        "district": district or [],
        "device": device or [],
        "bbox": bbox,
        "near": near,
        "polygon": polygon,
        "tag": tag or [],
        "format": format.value,
    }
    with api_client(load_settings()) as api, _bars() as bars:
        job = api.post("exports", asked) if number is None else api.get(f"exports/{number}")
        path = output or pathlib.Path(f"{job['kind']}.{job['format']}")
        _refuse_existing(path, overwrite=overwrite)
        try:
            if not errors.is_terminal:
                errors.print(f"export {job['id']} is being made …")
            job = _until_ready(api, job, bars)
            _fetch(api, job, path, bars)
        except KeyboardInterrupt:
            errors.print(f"\n{_again(job, path)}", markup=False, soft_wrap=True)
            raise
        except ApiAwayError as error:
            raise ApiAwayError(f"{error}. {_again(job, path)}") from error
        except OSError as error:
            raise ApiError(
                f"{error.filename or path}: {error.strerror or error}. {_again(job, path)}"
            ) from error
    answers.print(f"{job['rows']:,} readings, {decimal(job['bytes'])}: {path}", markup=False, soft_wrap=True)


def _refuse_existing(path: pathlib.Path, *, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise ApiError(f"{path} is there already; give another file with -o, or --overwrite")


def _again(job: Mapping[str, Any], path: pathlib.Path) -> str:
    return f"Go on with: alatau export --id {job['id']} -o {path}"


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        TextColumn("{task.fields[note]}", style="dim"),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
    )


def _until_ready(api: ApiClient, job: Mapping[str, Any], bars: Progress) -> Mapping[str, Any]:
    """Wait until the file is made; return what is then known of it. Raises ApiError where it can't be."""
    bar = bars.add_task("making", total=1, note="")
    while job["state"] in ("waiting", "running"):
        note = f"{job['rows']:,} readings" if job["state"] == "running" else "waits for its turn"
        bars.update(bar, completed=job["progress"], note=note)
        time.sleep(_LOOK_SECONDS)
        job = api.get(f"exports/{job['id']}")
    if job["state"] != "ready":
        raise ApiError(f"export {job['id']} failed: {job['problem']}")
    bars.update(bar, completed=1, note=f"{job['rows']:,} readings")
    return job


def _fetch(api: ApiClient, job: Mapping[str, Any], path: pathlib.Path, bars: Progress) -> None:
    """Fetch the file of a job, as far as it is not there yet, and put it in its place when it is right."""
    # Part of another job's file is no beginning of this one.
    partial = path.with_name(f"{path.name}.{job['sha256'][:12]}.partial")
    bar = bars.add_task("fetching", total=max(job["bytes"], 1), note="")

    def report(size: int) -> None:
        bars.update(bar, completed=size, note=decimal(size))

    attempts = 0
    while (there := _size(partial)) < job["bytes"]:
        attempts += 1
        try:
            _append(api, job, partial, report)
        except ApiAwayError:
            if attempts >= _ATTEMPTS:
                raise
        if _size(partial) > there:
            attempts = 0
        else:
            time.sleep(min(2.0**attempts / 4, 5))
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != job["sha256"]:
        partial.unlink()
        raise ApiError(f"what was fetched is not what was made (SHA-256 {found}). {_again(job, path)}")
    partial.replace(path)


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(
    api: ApiClient, job: Mapping[str, Any], partial: pathlib.Path, report: Callable[[int], None]
) -> None:
    """Fetch what is missing of a file, as much of it as comes."""
    there = _size(partial)
    headers = {"Range": f"bytes={there}-", "If-Range": f'"{job["sha256"]}"'} if there else {}
    with (
        api.stream(f"exports/{job['id']}/file", headers) as response,
        partial.open("ab" if response.status_code == 206 else "wb") as file,
    ):
        for piece in response.iter_bytes():
            file.write(piece)
            report(file.tell())

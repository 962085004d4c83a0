"""What is shown of a campaign."""

from __future__ import annotations

from experiments.summary import Number, Result, Summary, Table
from experiments.tables import entries, finite, number, words


def campaign_summary(result: Result) -> Summary:
    """How far the jobs of a campaign are."""
    rows, caveats = [], []
    for job in entries(result, "jobs"):
        name, status = words(job.get("name"), 60), words(job.get("status"), 40)
        seconds = finite(job, "seconds")
        rows.append(
            (
                name,
                status,
                number(finite(job, "minutes"), 3),
                number(None if seconds is None else seconds / 60, 3),
                words(job.get("device"), 60),
            )
        )
        if status != "done":
            errors = [
                words(stage["error"])
                for stage in entries(job, "stages")
                if stage.get("error") is not None
            ]
            caveats.append(": ".join([f"job {name}", status, *errors[:1]]))
    headers = ("job", "status", "minutes expected", "minutes", "device")
    return Summary(
        "Campaign",
        numbers=(
            Number("jobs done", sum(row[1] == "done" for row in rows) / len(rows), share=True),
        )
        if rows
        else (),
        tables=(Table(words(result.get("title") or "Jobs"), headers, tuple(rows)),),
        caveats=tuple(caveats),
    )

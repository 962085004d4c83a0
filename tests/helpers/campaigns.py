"""A queue of three jobs, and commands that only pretend to run."""

from pathlib import Path

from experiments.campaign.campaign import campaign
from experiments.campaign.stages import Outcome
from experiments.options import CampaignOptions
from sslsim.core.files import read_json

GOOD = """
title = "T"
[words]
net = "--encoder linear"
[[job]]
name = "a"
minutes = 2
stages = ["train {net} --out {out}/train", "ntk --run {out}/train"]
[[job]]
name = "b"
minutes = 5
stages = ["predict --data {data}"]
[[job]]
name = "c"
minutes = 1
stages = [["predict", "--out", "{out}/with a space"]]
"""


def queue_file(text=GOOD):
    """Write a queue into the current folder; its name."""
    Path("q.toml").write_text(text)
    return "q.toml"


class World:
    """Commands that take as long as they are told, on a clock of their own."""

    def __init__(self, seconds=30.0, **ends):
        self.now, self.seconds, self.ends, self.ran = 0.0, seconds, ends, []

    def campaign(self, options, run=None):
        """Run a campaign of such commands, or of ``run``, by this clock."""
        return campaign(options, run or self, lambda: self.now)

    def __call__(self, arguments, log, seconds, grace, stopped, *share):
        """Run a command."""
        name = Path(log).parent.name
        self.ran.append((name, arguments[0]))
        takes = self.seconds
        status = self.ends.get(f"{name}_{arguments[0]}", "done")
        if status == "killed":
            raise KeyboardInterrupt
        if takes > seconds:
            status, takes = "cut", seconds
        self.now += takes
        Path(log).write_text("said something\n")
        return Outcome(status, 0 if status == "done" else 2, takes, None)


def options(**given):
    """Options of a campaign of that queue, in the folder ``c``."""
    return CampaignOptions(**{"queue": "q.toml", "data": Path("d"), "out": Path("c")} | given)


def statuses():
    """Status of every job, as the campaign has written it."""
    return {job["name"]: job["status"] for job in read_json("c/campaign.json")["jobs"]}

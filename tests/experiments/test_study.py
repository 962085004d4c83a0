"""A command is one module and one row: help, run folder, tables, picture and report follow."""

import sys
from dataclasses import replace
from pathlib import Path

import pages
import pytest
from documented import undocumented

from experiments import cli
from experiments.registry import STUDIES
from experiments.report import ReportOptions, report
from experiments.study import Study, variants
from sslsim.core.files import read_json

ROOT = Path(__file__).resolve().parents[2]

MODULE = '''
"""Toss a coin."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.summary import Agreement, Number, Summary, Table
from experiments.tables import finite, number, numbers
from sslsim.core.files import whole_file, write_json
from sslsim.runs.folder import new_results

PICTURE = bytes.fromhex("{picture}")


@dataclass(frozen=True)
class CoinOptions:
    """Options of ``sslsim coin``.

    Attributes
    ----------
    tosses : int
        Number of tosses.
    seed : int
        Seed of the draws.
    out : Path
        Run folder.
    """

    tosses: int = 10
    seed: int = 0
    out: Path = Path("runs/coin")


def coin(options: CoinOptions) -> Path:
    """Toss, and count heads."""
    if options.tosses < 1:
        raise ValueError(f"tosses is {{options.tosses}}; expected at least 1")
    heads = np.random.default_rng(options.seed).integers(0, 2, options.tosses)
    with new_results(options.out, "coin", options, results=("coin.json", "coin.png")) as folder:
        write_json(folder / "coin.json", {{"heads": heads, "share": heads.mean()}})
    return options.out


def coin_summary(result) -> Summary:
    """The share of heads."""
    share = finite(result, "share")
    rows = tuple((str(k + 1), number(toss)) for k, toss in enumerate(numbers(result, "heads")))
    return Summary(
        "Coin",
        numbers=(Number("share of heads", share, share=True),),
        agreements=(Agreement("share of heads", number(share), "a fair coin 0.5"),),
        tables=(Table("Tosses", ("toss", "heads"), rows),),
        caveats=("one coin only",),
    )


def draw_coin(folder: Path) -> Path:
    """Draw it."""
    with whole_file(folder / "coin.png") as file:
        file.write(PICTURE)
    return folder / "coin.png"
'''
PNG = (
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c63600000000200014873afa40000000049454e44ae426082"
)


@pytest.fixture
def coin(tmp_path, monkeypatch):
    """A study of one module, that this process can import, and its row."""
    (tmp_path / "toy_coin.py").write_text(MODULE.format(picture=PNG))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Study(
        "coin",
        "Toss a coin.",
        options="toy_coin:CoinOptions",
        run="toy_coin:coin",
        files=("coin.json", "coin.png"),
        tables="toy_coin:coin_summary",
        figure="toy_coin:draw_coin",
        captions={"coin.png": "A coin in the air"},
        seeded=True,
    )
    sys.modules.pop("toy_coin", None)


def made(folders, studies):
    """Page of the folders."""
    path = report(ReportOptions(tuple(folders), out=folders[0].parent / "page.html"), studies)
    return pages.judged(path.read_text(encoding="utf-8"))


def test_a_row_is_a_command_with_help(coin, capsys):
    studies = (*STUDIES, coin)
    assert cli.main(["--help"], studies) == 0
    assert "  coin                  Toss a coin.\n" in capsys.readouterr().out
    assert cli.main(["coin", "--help"], studies) == 0
    assert "Number of tosses." in capsys.readouterr().out
    assert cli.main(["coin", "--tosses", "0"], studies) == 2
    assert capsys.readouterr().err == "sslsim: error: tosses is 0; expected at least 1\n"
    assert cli.main(["coin"]) == 2  # without its row
    assert "there is no command coin" in capsys.readouterr().err


def test_a_row_leaves_its_files_prints_its_summary_and_draws(coin, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["coin", "--tosses", "4", "--out", str(out)]
    assert cli.main(arguments, (*STUDIES, coin)) == 0
    assert {path.name for path in out.iterdir()} == {"config.json", *coin.files}
    share = read_json(out / "coin.json")["share"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Tosses", "toss  heads"]
    assert lines[-3:] == [
        f"share of heads: {share:g} (a fair coin 0.5)",  # once, with its baseline
        "caution: one coin only",
        f"written to {out}",
    ]


def test_a_row_is_all_that_a_report_needs(coin, tmp_path):
    studies = (*STUDIES, coin)
    folders = [tmp_path / f"run{seed}" for seed in range(2)]
    for seed, folder in enumerate(folders):
        assert cli.main(["coin", "--seed", str(seed), "--out", str(folder)], studies) == 0
    shares = [read_json(folder / "coin.json")["share"] for folder in folders]
    page = made(folders, studies)
    assert "2 run folders in 1 configuration" in page.text
    assert f"share of heads {100 * sum(shares) / 2:.3g} %" in page.text
    assert "A coin in the air" in page.text
    assert len(page.images) == 2
    for caveat in ("fewer than three seeds of one configuration (2)", "one coin only"):
        assert caveat in page.text
    assert "coin.png is missing" not in page.text
    (folders[0] / "coin.png").unlink()
    (folders[1] / "coin.json").unlink()
    text = made(folders, studies).text
    assert "coin.png is missing: run0" in text.replace("missing :", "missing:")
    assert "did not finish: coin.json is missing" in text
    assert "holds no result that is known here" in made(folders, STUDIES).text


def test_a_row_without_figure_or_seeds_is_not_asked_for_them(coin, tmp_path):
    plain = replace(coin, files=coin.files[:1], figure=None, seeded=False)
    assert cli.main(["coin", "--out", str(tmp_path / "run")], (plain,)) == 0
    assert not (tmp_path / "run" / "coin.png").exists()
    text = made([tmp_path / "run"], (plain,)).text
    assert "is missing" not in text
    assert "fewer than three seeds" not in text


def test_every_row_is_documented_and_a_new_one_is_missed(coin):
    places = [ROOT / "README.md", *(ROOT / "experiments" / "docs").glob("*.md")]
    texts = [path.read_text(encoding="utf-8") for path in places]
    assert undocumented(STUDIES, texts) == []
    assert undocumented((*STUDIES, coin), texts) == ["coin"]
    assert undocumented((coin,), [*texts, "    sslsim coin --tosses 3"]) == []
    assert undocumented((coin,), ["    sslsim coin-flip", "sslsimcoin", "the coin"]) == ["coin"]


@pytest.mark.parametrize("study", variants(STUDIES), ids=lambda study: study.run)
def test_a_summary_of_nothing_says_nothing_wrong(study):
    if study.files:
        summary = study.summary_of({})
        assert summary is not None
        assert summary.title

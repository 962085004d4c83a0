"""Bad commands: each is refused in one line, with exit status 2, and leaves its folder as it was.

``{run}`` is a finished ``sslsim train`` that kept its checkpoints, ``{conv}`` one of a convnet,
``{split}`` and ``{pool}`` are finished studies of memorisation; folders named after what is wrong
with them (``{no_options}``, ...) are copies of ``{run}``.
"""

import contextlib
import io
import json
import re
import shlex
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from experiments.cli import main
from experiments.command_line import parsed
from experiments.registry import STUDIES
from experiments.studies.linear.predict import predict
from experiments.studies.memorization.study import memorization
from experiments.studies.training.train import train_network

PREDICT = [
    ("--dim 0", "dim is 0; expected from 1 to the 64"),
    ("--dim 65", "dim is 65"),
    ("--dim 1.5", "1.5"),
    ("--init-scale 0", "init-scale is 0.0; expected a finite number above zero"),
    ("--init-scale nan", "init-scale is nan"),
    ("--init-scale -1", "init-scale is -1.0"),
    ("--lr 0", "lr is 0.0; expected a finite number above zero"),
    ("--lr nan", "lr is nan"),
    ("--lr inf", "lr is inf"),
    ("--lr 1e9", "lr is 1e+09; expected below"),
    ("--interval-level 0", "interval-level is 0.0; expected between 0 and 1"),
    ("--interval-level 1", "interval-level is 1.0"),
    ("--interval-level nan", "interval-level is nan"),
    ("--seed -1", "seed is -1; expected a whole number, zero or above"),
    ("--pairs 1", "pairs is 1; expected at least 2"),
    ("--pairs 0", "pairs is 0"),
    ("--pairs -5", "pairs is -5"),
    ("--pairs 100000", "100000"),
    ("--limit 0", "limit is 0; expected a whole number above zero"),
    ("--limit 1", "1 image(s); expected at least 2"),
    ("--limit nan", "nan"),
    ("--size 0 --data {photos}", "size is 0"),
    ("--views-per-image 3", "views-per-image is 3"),
    ("--views-per-image 0", "views-per-image is 0"),
    ("--views sideways", "sideways"),
    ("--split night", "digits has no split 'night'"),
    ("--data nowhere", "unknown data set 'nowhere', and no such folder"),
    ("--data ./nowhere", "no such folder or data set: ./nowhere"),
    ("--data gone/photos", "no such folder or data set: gone/photos; expected one of digits"),
    ("--data nowhere.npz", "nowhere.npz cannot be read: No such file"),
    ("--data {torn}", "torn.npz is not a readable .npz file"),
    ("--data {flipped}", "images cannot be read: That compression method is not supported"),
    ("--data {objects}", "labels cannot be read: it holds Python objects"),
    ("--data {nans}", "images holds 4 NaN or infinite value(s)"),
    ("--data {wild}", "images range from"),
    ("--data {text}", "text.txt is a file of another kind"),
    ("--data {empty}", "holds no images"),
    ("--data {uneven}", "x has shape (3, 4) and x_prime (2, 4)"),
    ("--data {pairs} --split test", "split is test, but"),
    ("--data {pairs} --limit 2", "limit is 2, but"),
    ("--data {pairs} --pairs 9", "pairs is 9; expected from 2 to the 6"),
    ("--data cifar10 --root nowhere", "root nowhere is not a folder"),
    ("extra", "extra"),
    ("--colour red", "colour"),
]
COMPARE = [
    ("--max-iterations 0", "max-iterations is 0; expected at least 1"),
    ("--max-iterations -3", "max-iterations is -3"),
    ("--dim 0", "dim is 0"),
    ("--lr 1e9", "lr is 1e+09; expected below"),
    ("--init-scale inf", "init-scale is inf"),
    ("--data nowhere", "unknown data set"),
    ("--seed -2", "seed is -2"),
    ("--width 0", "width is 0; expected different numbers above zero"),
    ("--width -4 8", "width is -4 8"),
    ("--width 8 8", "width is 8 8; expected different numbers"),
    ("--width 8 --repeats 1", "repeats is 1; expected at least 2"),
    ("--width 8 --repeats 0", "repeats is 0"),
    ("--width 8 --lr 1e9", "lr is 1e+09; expected below"),
    ("--width 8 --dim 65", "dim is 65"),
    ("--width 8 --max-iterations 0", "max-iterations is 0"),
]
COMPARE_RUN = [
    ("--run nowhere", "nowhere/config.json cannot be read"),
    ("--run {predict}", "holds a run of 'predict'; expected one of sslsim train"),
    ("--run {empty}", "config.json cannot be read"),
    ("--run {run} --dim 3", "dim is 3, which means nothing for a run"),
    ("--run {run} --seed 3", "seed is 3, which means nothing for a run"),
    ("--run {run} --pairs 1", "pairs is 1; expected at least 2"),
    ("--run {run} --pairs 0", "pairs is 0"),
    ("--run {no_options}", "holds options of type NoneType"),
    ("--run {odd_option}", "holds steps 'many'; expected what --steps of sslsim train takes"),
    ("--run {foreign_option}", "holds options unknown here: colour"),
    ("--run {no_arrays}", "records.npz cannot be read"),
    ("--run {flat_arrays}", "cross_spectrum is float64 of shape (3,)"),
    ("--run {few_arrays}", "records.npz lacks 'cross_spectrum'"),
    ("--run {torn_arrays}", "records.npz is not a readable .npz file"),
    ("--run {nested}", "config.json is not valid JSON"),
]
TRAIN = [
    ("--steps 0", "steps is 0; expected at least 1"),
    ("--steps -5", "steps is -5"),
    ("--steps 2.5", "2.5"),
    ("--batch 1", "batch is 1"),
    ("--batch 0", "batch is 0"),
    ("--lr 0", "learning_rate is 0.0|lr is 0.0"),
    ("--lr nan", "is nan"),
    ("--lr -1", "is -1.0"),
    ("--lr inf", "is inf"),
    ("--momentum 1", "momentum is 1.0"),
    ("--momentum nan", "momentum is nan"),
    ("--weight-decay -1", "weight_decay is -1.0|weight-decay is -1.0"),
    ("--weight-decay nan", "is nan"),
    ("--warmup -1", "warmup is -1; expected from 0"),
    ("--warmup 1000", "warmup is 1000"),
    ("--accumulate 0", "accumulate is 0"),
    ("--records 1", "records 1; expected"),
    ("--probe 1", "probe 1; expected at least 2"),
    ("--checkpoint-every 0", "checkpoint-every is 0"),
    ("--checkpoints-kept -1", "checkpoints-kept is -1"),
    ("--seed -1", "seed is -1"),
    ("--limit 3", "3 image(s); expected at least 4"),
    ("--limit 0", "limit is 0"),
    ("--dim 0", "dim is 0"),
    ("--widths 0", "widths"),
    ("--widths -3", "widths"),
    ("--init-scale nan", "nan"),
    ("--init-scale -1", "init-scale is -1.0"),
    ("--method magic", "magic"),
    ("--method supervised --dim 3", "dim is 3; expected the 10 classes"),
    ("--method supervised --data {unlabelled}", "has no labels; expected labels when supervised"),
    ("--method supervised --data {giant}", "labels go up to 1000000000000 for"),
    ("--method supervised --data {negative}", "labels go from -1; expected classes from 0"),
    ("--method vicreg --barlow-form theory", "barlow-form"),
    ("--method simclr --temperature 0", "temperature"),
    ("--method simclr --temperature nan", "temperature"),
    ("--method swav --prototypes 0", "prototypes"),
    ("--method byol --teacher-momentum 2", "momentum"),
    ("--similarity dot", "similarity"),
    ("--norm none", "norm"),
    ("--views mask", "1 view(s) were drawn; expected the two of a pair"),
    ("--layers nothing", "layers holds 'nothing'"),
    ("--data nowhere", "unknown data set"),
    ("--data {flipped}", "images cannot be read"),
    ("--device warp", "device is 'warp'"),
    ("--projector none --dim 5 --encoder mlp", "projector"),
]
NTK = [
    ("", "neither run nor module is given"),
    ("--run {run} --module networks_of_cases:net", "both run and module are given"),
    ("--run {run} --samples 1", "samples is 1"),
    ("--run {run} --samples 0", "samples is 0"),
    ("--run {run} --memory 0", "memory 0; expected at least 2 pairs and 1 MiB"),
    ("--run {run} --outputs 0", "outputs is 0; expected at least 1"),
    ("--run {run} --checkpoint 5", "checkpoint is 5; "),
    ("--run {run} --checkpoint -1", "checkpoint is -1; "),
    ("--run {run} --over-training 1", "over-training is 1; expected at least 2"),
    ("--run {run} --over-training 3 --checkpoint 2", "both checkpoint and over-training"),
    ("--run {run} --data digits2", "data is digits2, which means nothing for a run"),
    ("--run {run} --seed 4", "seed is 4, which means nothing for a run"),
    ("--run {run} --modes 2", "modes is 2, which means nothing for a run"),
    ("--run {run} {run}", "expected different folders"),
    ("--run {run} {conv} --modes 0", "modes is 0; expected from 1 to"),
    ("--run {run} --device warp", "device is 'warp'"),
    ("--run nowhere", "nowhere/config.json cannot be read"),
    ("--run {predict}", "holds a run of 'predict'"),
    ("--run {no_options}", "holds options of type NoneType"),
    ("--run {no_result}", "training.json lacks 'views'"),
    ("--run {odd_result}", "training.json holds 'step_times' of type str; expected list"),
    ("--run {list_result}", "training.json holds a list; expected a JSON object"),
    ("--run {torn_checkpoint}", "is not an intact checkpoint"),
    ("--run {other_checkpoint}", "is of another network"),
    ("--run {no_learner}", "holds no learner"),
    ("--run {foreign_option}", "options unknown here: colour"),
    (
        "--module networks_of_cases",
        "module is 'networks_of_cases'; expected package.module:factory",
    ),
    ("--module :net", "expected package.module:factory"),
    ("--module nowhere_at_all:net", "there is no module named 'nowhere_at_all'"),
    ("--module networks_of_cases:nothing", "networks_of_cases has no 'nothing'"),
    (
        "--module networks_of_cases:leaves",
        "networks_of_cases:leaves raised SystemExit: 3; expected an nn.Module",
    ),
    ("--module networks_of_cases:fails", "networks_of_cases:fails raised ZeroDivisionError"),
    ("--module networks_of_cases:number", "returned a int; expected an nn.Module"),
    (
        "--module networks_of_cases:pairs --samples 4",
        "the network gives a tuple for inputs of shape",
    ),
    (
        "--module networks_of_cases:table --samples 4",
        "the network gives a dict for inputs of shape",
    ),
    ("--module networks_of_cases:small --samples 4", "the network does not take inputs of shape"),
    ("--module networks_of_cases:net --weights nowhere.pt", "weights nowhere.pt cannot be read"),
    ("--module networks_of_cases:net --weights {text}", "are no file of torch.save"),
    (
        "--module networks_of_cases:net --weights {whole}",
        "such as a whole module, which are not loaded",
    ),
    ("--module networks_of_cases:net --weights {other_weights}", "under 'net' lack '1.weight'"),
    (
        "--module networks_of_cases:net --checkpoint 3",
        "checkpoint is 3, which means nothing for a module",
    ),
    ("--module networks_of_cases:net --limit 0", "limit is 0"),
    ("--module networks_of_cases:net --data nowhere", "unknown data set"),
    ("--module networks_of_cases:net --seed -1", "seed is -1"),
]
FORECAST = [
    ("--run {run} {run}", "expected different folders"),
    ("--run {run} {linked}", "expected different folders"),
    ("--run nowhere", "nowhere/config.json cannot be read"),
    ("--run {run} --pairs 1", "pairs is 1"),
    ("--run {run} --pairs 0", "pairs is 0"),
    ("--run {run} --interval-level 0", "interval-level 0.0|interval-level is 0.0"),
    ("--run {run} --interval-level nan", "interval-level nan|interval-level is nan"),
    ("--run {run} --interval-level 1.5", "interval-level 1.5|interval-level is 1.5"),
    ("--run {run} --at 5", "at is 5; "),
    ("--run {run} --at -1", "at is -1; "),
    ("--run {run} --root nowhere --pairs 1", "pairs is 1"),
    ("--run {run} {conv} --at 2", "at is 2 for 2 runs; expected one run"),
    ("--run {no_options}", "holds options of type NoneType"),
    ("--run {odd_option}", "holds steps 'many'"),
    ("--run {no_checkpoints}", "holds 0 checkpoint(s)"),
    ("--run {no_learner}", "holds no learner"),
    ("--run {torn_checkpoint}", "is not an intact checkpoint"),
    ("--run {predict}", "holds a run of 'predict'"),
    ("", "run"),
]
OVERFITTING = [
    ("--run {run} {run}", "expected different folders"),
    ("--run {run} {linked}", "expected different folders"),
    ("--run {run} --checkpoints 2", "checkpoints is 2; expected at least 3"),
    ("--run {run} --checkpoints -2", "checkpoints is -2"),
    ("--run {run} --samples 1", "samples is 1; expected at least 2"),
    ("--run {run} --probed 0", "probed is 0"),
    ("--run {run} --views 1", "views is 1"),
    ("--run {run} --eps 0", "eps is (0.0,); expected finite numbers above zero"),
    ("--run {run} --eps nan", "eps is (nan,)"),
    ("--run {run} --eps 0.1 -1", "eps is (0.1, -1.0)"),
    ("--run {run} --interval-level 1", "interval-level is 1.0"),
    ("--run {run} --interval-level nan", "interval-level is nan"),
    ("--run {run} --seed -1", "seed is -1"),
    ("--run nowhere", "nowhere/config.json cannot be read"),
    ("--run {no_options}", "holds options of type NoneType"),
    ("--run {no_checkpoints}", "holds 0 checkpoint(s)"),
    ("--run {predict}", "holds a run of 'predict'"),
]
UMM = [
    ("--run {conv} --no-alignment --no-coding-rate", "nothing is left to undo memorisation with"),
    ("--run {conv} --no-alignment --beta 3", "beta is 3.0, which means nothing with no-alignment"),
    ("--run {conv} --control --beta 3", "beta is 3.0, which means nothing with control"),
    ("--run {conv} --control --inner-lr 0.5", "inner-lr is 0.5, which means nothing with control"),
    ("--run {conv} --solver neumann", "solver is neumann, which means nothing with hypergradient"),
    ("--run {conv} --beta 0 --coding-rate-weight 0", "nothing is left to undo memorisation"),
    ("--run {conv} --control --joint", "both control and joint are given"),
    ("--run {conv} --control --no-alignment", "both control and no-alignment are given"),
    ("--run {conv} --no-coding-rate --coding-rate-weight 2", "coding-rate-weight is 2.0, which"),
    ("--run {conv} --joint --inner-steps 2", "inner-steps is 2, which means nothing with joint"),
    ("--run {conv} --beta -1", "beta is -1.0"),
    ("--run {conv} --beta nan", "beta is nan"),
    ("--run {conv} --eps 0", "eps is 0.0"),
    ("--run {conv} --eps nan", "eps is nan"),
    ("--run {conv} --inner-lr 0", "inner-lr is 0.0"),
    ("--run {conv} --outer-lr nan", "outer-lr is nan"),
    ("--run {conv} --inner-steps 0", "inner-steps is 0"),
    ("--run {conv} --steps 0", "steps is 0"),
    ("--run {conv} --batch 1", "batch is 1; expected at least 2 images"),
    ("--run {conv} --held-out 1", "held-out is 1"),
    ("--run {conv} --test-images 1", "test-images is 1"),
    ("--run {conv} --radius 0", "radius is 0.0"),
    ("--run {conv} --damping -1", "damping is -1.0"),
    ("--run {conv} --seed -1", "seed is -1"),
    ("--run {conv} --split nothing", "nothing"),
    ("--run {conv} --early layer3", "layer3"),
    ("--run {conv} --checkpoint 77", "checkpoint is 77"),
    ("--run {conv} --transfer nowhere", "unknown data set 'nowhere'"),
    ("--run {conv} --transfer-limit 5", "transfer-limit is 5 without transfer"),
    ("--run {conv} --transfer digits --transfer-limit 0", "limit is 0"),
    ("--run {conv} --device warp", "device is 'warp'"),
    ("--run {no_options}", "holds options of type NoneType"),
    ("--run nowhere", "nowhere/config.json cannot be read"),
]
UMM_SWEEP = [
    ("", "no run is given"),
    ("--run {conv} --push nan", "push is nan; expected a finite number of at least 0"),
    ("--run {conv} --push -1", "push is -1.0"),
    ("--run {conv} --hold nan", "hold is nan"),
    ("--run {conv} --hold inf", "hold is inf"),
    ("--run {conv} --interval-level 0", "interval-level is 0.0|interval-level is 0.0"),
    ("--run {conv} --interval-level nan", "is nan"),
    ("--run {conv} --vary eps", "vary holds 'eps'; expected NAME=VALUE,VALUE"),
    ("--run {conv} --vary colour=3", "vary holds 'colour=3'"),
    ("--run {conv} --vary eps=x", "vary holds 'eps=x'; expected values like"),
    ("--run {conv} --vary eps=0", "eps is 0.0"),
    ("--run {conv} --vary steps=nan", "vary holds 'steps=nan'"),
    ("--run {conv} --variants everything", "everything"),
    ("--run {conv} {conv}", "expected different folders"),
    ("--run {conv} {same}", "were trained alike"),
    ("--run {conv} --steps 0", "steps is 0"),
    ("--run nowhere", "nowhere/config.json cannot be read"),
]
MEMORIZATION = [
    ("--augmentations 0", "augmentations is 0; expected at least 1 pair"),
    ("--encoder-pairs 1", "encoder-pairs is 1; expected at least 2"),
    ("--encoder-pairs 0", "encoder-pairs is 0"),
    ("--candidates 1", "candidate set is to have 1 point(s)"),
    ("--shared 0", "shared set is to have 0 point(s)"),
    ("--external -1", "external set is to have -1 point(s)"),
    ("--shared 5000", "come to 5400"),
    ("--atypical 2", "atypical is 2.0; expected a share from 0 to 1"),
    ("--atypical nan", "atypical is nan"),
    ("--atypical -0.1", "atypical is -0.1"),
    ("--draw-seed -1", "draw-seed is -1"),
    ("--seed -1", "seed is -1"),
    ("--curve -1", "curve is -1"),
    ("--top 0", "top is 0"),
    ("--batch 1", "batch is 1"),
    ("--steps 0", "steps is 0"),
    ("--checkpoint-every 0", "checkpoint-every is 0"),
    ("--layers nothing", "layers is nothing"),
    ("--score-views multicrop", "score-views is 'multicrop'"),
    ("--pool 50", "pool is 50, an option of protocol"),
    ("--exact", "exact is True, an option of protocol"),
    ("--device warp", "device is 'warp'"),
    ("--protocol subsample --share 0", "share is 0.0"),
    ("--protocol subsample --share 1", "share is 1.0"),
    ("--protocol subsample --share nan", "share is nan"),
    ("--protocol subsample --encoders 0", "encoders is 0"),
    ("--protocol subsample --encoders 1", "1 encoder(s) on a share"),
    ("--protocol subsample --pool 3", "pool is 3; expected 4 to"),
    ("--protocol subsample --pool 0", "points is 0|pool is 0"),
    ("--protocol subsample --candidates 4", "candidates is 4, an option of protocol split"),
    ("--protocol closed-form --form ratio", "form is 'ratio'; expected 'raw' in closed form"),
    ("--protocol closed-form --distance l1", "distance is 'l1'"),
    ("--protocol closed-form --evaluate", "evaluate is asked without --kernel"),
    ("--protocol closed-form --dim 0", "dim is 0"),
    ("--sets nowhere.npz", "nowhere.npz cannot be read"),
    ("--sets {torn}", "torn.npz is not a readable .npz file"),
    ("--sets {pairs}", "lacks 'candidate'"),
    ("--compare nowhere", "nowhere/memorization.json cannot be read"),
    ("--compare {run}", "memorization.json cannot be read"),
    ("--compare {split} {split}", "compare holds a folder twice"),
    ("--compare {few_scores}", "scores.npz lacks 'hashes'"),
    ("--f {run} --g {conv}", "1 encoder(s) f and 1 g were given"),
    ("--f {run} {run} --g {conv} {conv} --sets {sets}", "f holds a folder twice"),
    ("--method simclr --temperature 0", "temperature"),
    ("--data nowhere", "unknown data set"),
]
REMOVAL = [
    ("", "no study is given"),
    ("--scores nowhere", "nowhere/config.json cannot be read"),
    ("--scores {run}", "holds a run of 'train'; expected one of sslsim memorization"),
    ("--scores {split}", "holds a study of protocol split; expected subsample or closed-form"),
    ("--scores {pool} --seeds 0", "seeds is 0"),
    ("--scores {pool} --steps 0", "steps is 0"),
    ("--scores {pool} --fine-tune -1", "fine-tune is -1"),
    ("--scores {pool} --fine-tune 2 --fine-tune-lr nan", "fine-tune_lr is nan|fine-tune-lr is nan"),
    ("--scores {pool} --fine-tune 2 --fine-tune-lr 0", "fine-tune_lr is 0.0|fine-tune-lr is 0.0"),
    ("--scores {pool} --fine-tune-lr 0.1", "fine-tune-lr is 0.1 without fine-tune"),
    ("--scores {pool} --interval-level 0", "interval-level is 0.0|interval-level is 0.0"),
    ("--scores {pool} --interval-level nan", "is nan"),
    ("--scores {pool} --remove 0", "remove holds 0.0; expected shares between 0 and 1"),
    ("--scores {pool} --remove 1", "remove holds 1.0"),
    ("--scores {pool} --remove nan", "remove holds nan"),
    ("--scores {pool} --remove 0.5 0.5", "each once"),
    ("--scores {pool} --which most most", "which is most most"),
    ("--scores {pool} --remove 0.5 --transfer nowhere", "unknown data set"),
    ("--scores {pool} --remove 0.5 --transfer digits", "which is there already"),
    ("--scores {pool} --transfer-limit 0", "transfer-limit is 0|transfer_limit is 0"),
    ("--scores {no_scores}", "scores.npz cannot be read"),
    ("--scores {no_study_options}", "holds options of type NoneType"),
    ("--scores {pool} --remove 0.5 --device warp", "device is 'warp'"),
]
PENALTY = [
    ("", "no study is given"),
    ("--scores {pool}", "holds a study of protocol subsample; expected split"),
    ("--scores {split} --count 0", "count is 0 without targeted"),
    ("--scores {split} --count -1", "count is -1"),
    ("--scores {split} --count 7", "count is 7 without targeted"),
    ("--scores {split} --targeted most --count 0", "count is 0; expected 1 to"),
    ("--scores {split} --targeted most --count 5000", "count is 5000; expected 1 to"),
    ("--scores {split} --targeted most most", "targeted is most most; expected each once"),
    ("--scores {split} --strengths nan", "nan"),
    ("--scores {split} --strengths inf", "inf"),
    ("--scores {split} --seeds 0", "seeds is 0"),
    ("--scores {split} --seeds -2", "seeds is -2"),
    ("--scores {split} --device warp", "device is 'warp'"),
    ("--scores {split} --steps 0", "steps is 0"),
    ("--scores {split} --interval-level 1", "is 1.0"),
    ("--scores {split} --method supervised", "method is supervised, which sees one view"),
    ("--scores nowhere", "nowhere/config.json cannot be read"),
]
REPORT = [
    ("nowhere", "nowhere is not a folder"),
    ("{empty}", "holds no run folder"),
    ("{run} --picture-limit 0", "picture-limit is 0"),
    ("{run} --picture-limit nan", "picture-limit is nan"),
    ("{run} --picture-limit -1", "picture-limit is -1"),
]
FIGURES = [
    ("--only 0", "there is no figure 0"),
    ("--only 9", "there is no figure 9"),
    ("--only -1", "there is no figure -1"),
    ("--only 1 --results nowhere", "nowhere"),
    ("--only 2 --results {empty}", "linear"),
]
CAMPAIGN = [
    ("--minutes 0", "minutes is 0"),
    ("--minutes nan", "minutes is nan"),
    ("--minutes inf", "minutes is inf"),
    ("--file-limit 0", "file-limit is 0"),
    ("--workers 0", "workers is 0; expected at least 1"),
    ("--workers -1", "workers is -1"),
    ("--queue nowhere", "queue nowhere cannot be read"),
    ("--queue {text}", "text.txt"),
    ("--jobs nothing", "unknown job 'nothing'"),
    ("--cluster debug --workers 2", "workers is 2 with cluster debug"),
    ("--partition fast", "partition is fast; expected it with --cluster slurm only"),
    ("--minutes 0.0001", "no pending job fits in 0.0001 minutes"),
]
BENCH = [
    ("theory --pairs 1", "pairs is 1"),
    ("theory --dim 0", "dim is 0"),
    ("theory --repeats 0", "repeats is 0"),
    ("theory --pairs 9 --data nowhere", "unknown data set"),
    ("theory --seed -1", "seed is -1"),
    ("train --batch 1", "batch is 1"),
    ("train --steps 0", "steps is 0"),
    ("train --threads 0", "threads is 0"),
    ("train --encoder magic", "magic"),
    ("throughput --steps 0", "steps is 0"),
    ("throughput --batch 1", "batch is 1"),
    ("throughput --views sideways", "sideways"),
    ("throughput --device warp", "device is 'warp'"),
    ("ntk --samples 0", "samples is 0"),
    ("ntk --networks magic", "magic"),
    ("ntk --threads 0", "threads is 0"),
    ("coding-rate --samples 0", "samples is 0"),
    ("coding-rate --groups 0", "groups is 0"),
    ("coding-rate --threads 0", "threads is 0"),
    ("memorization --networks magic", "networks holds"),
    ("memorization --encoders 0", "encoders is"),
    ("memorization --threads 0", "threads is 0"),
]
TABLES = {
    "predict": ("--pairs 20 --dim 2", PREDICT),
    "compare": ("--pairs 20 --dim 2 --max-iterations 5", COMPARE),
    "compare of a run": ("", COMPARE_RUN),
    "train": ("--encoder linear --limit 40 --steps 3 --device cpu", TRAIN),
    "ntk": ("", NTK),
    "forecast": ("", FORECAST),
    "overfitting": ("", OVERFITTING),
    "umm": ("--steps 1 --batch 8", UMM),
    "umm-sweep": ("--steps 1 --batch 8", UMM_SWEEP),
    "memorization": ("--encoder linear --steps 2", MEMORIZATION),
    "memorization-removal": ("", REMOVAL),
    "memorization-penalty": ("", PENALTY),
    "report": ("", REPORT),
    "figures": ("", FIGURES),
    "campaign": ("", CAMPAIGN),
    "bench": ("", BENCH),
}


@dataclass(frozen=True)
class Case:
    """A command that is refused, and a pattern of the line that says why (parts by ``|``)."""

    command: str
    arguments: str
    expected: str

    def __str__(self):
        return f"{self.command} {self.arguments}"


CASES = [
    Case(command, arguments, expected)
    for command, (_, table) in TABLES.items()
    for arguments, expected in table
]


def called(arguments):
    """Exit status and standard error of the command, in this process."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        status = main(arguments)
    return status, told.getvalue()


def contents(folder):
    """Names and bytes of all that a folder holds; None if it is not there."""
    if not folder.exists():
        return None
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


SOURCE = """
import sys
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.linear = kind, nn.Linear(64, 3)

    def forward(self, x):
        z = self.linear(x.flatten(1))
        return (z, z) if self.kind is tuple else {"z": z}

def net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
def small(): return nn.Sequential(nn.Flatten(), nn.Linear(5, 3))
def pairs(): return Odd(tuple)
def table(): return Odd(dict)
def leaves(): sys.exit(3)
def fails(): return 1 / 0
def number(): return 3
"""


def made(arguments):
    """Run a command without its pictures; its folder."""
    study = {
        "train": train_network,
        "memorization": memorization,
        "predict": predict,
    }[arguments.split()[0]]
    with contextlib.redirect_stdout(io.StringIO()):
        return study(parsed(shlex.split(arguments))[1])


def copied(run, name, change):
    folder = run.parent / name
    shutil.copytree(run, folder)
    change(folder)
    return folder


def with_json(name, change):
    """Something that changes what a JSON file of a folder holds."""

    def changed(folder):
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return changed


def with_option(name, value):
    return with_json(
        "config.json", lambda held: held | {"options": held["options"] | {name: value}}
    )


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """Folders and files that the cases name, made once."""
    home = tmp_path_factory.mktemp("bad_commands")
    train = (
        "train --limit 40 --steps 4 --batch 20 --records 3 --probe 8 --no-evaluate --device cpu "
        "--checkpoint-every 2 --checkpoints-kept 0 --dim 2"
    )
    study = (
        "memorization --encoder linear --limit 60 --steps 2 --batch 8 --augmentations 1 --top 2 "
        "--device cpu"
    )
    split = "--shared 8 --candidates 6 --independent 6 --external 6 --encoder-pairs 2"
    found = {
        "run": made(f"{train} --encoder linear --out {home / 'run'}"),
        "conv": made(f"{train} --encoder convnet --widths 2 2 2 --out {home / 'conv'}"),
        "split": made(f"{study} {split} --out {home / 'split'}"),
        "pool": made(f"{study} --protocol subsample --pool 12 --encoders 4 --out {home / 'pool'}"),
        "predict": made(f"predict --pairs 20 --dim 2 --out {home / 'predict'}"),
    }
    run, conv = found["run"], found["conv"]

    newest = "checkpoints/checkpoint-000000004.pt"

    def with_arrays(**arrays):
        return lambda folder: np.savez(folder / "records.npz", **arrays)

    def torn(folder):
        path = folder / newest
        path.write_bytes(path.read_bytes()[:300])

    changes = {
        "no_options": with_json("config.json", lambda held: held | {"options": None}),
        "odd_option": with_option("steps", "many"),
        "foreign_option": with_option("colour", "red"),
        "nested": lambda folder: (folder / "config.json").write_text("[" * 100_000),
        "no_result": with_json("training.json", lambda held: {}),
        "odd_result": with_json("training.json", lambda held: held | {"step_times": "soon"}),
        "list_result": with_json("training.json", lambda held: [1]),
        "no_arrays": lambda folder: (folder / "records.npz").unlink(),
        "few_arrays": with_arrays(times=np.arange(3.0)),
        "flat_arrays": with_arrays(times=np.arange(3.0), cross_spectrum=np.arange(3.0)),
        "torn_arrays": lambda folder: (folder / "records.npz").write_bytes(b"PK\x03\x04"),
        "no_checkpoints": lambda folder: shutil.rmtree(folder / "checkpoints"),
        "torn_checkpoint": torn,
        "no_learner": lambda folder: torch.save({"step": 4}, folder / newest),
        "other_checkpoint": lambda folder: torch.save({"learner": {}}, folder / newest),
    }
    for name, change in changes.items():
        found[name] = copied(run, name, change)
    found["same"] = copied(conv, "same", lambda folder: None)
    found["linked"] = home / "linked"
    found["linked"].symlink_to(run)
    found["no_scores"] = copied(
        found["pool"], "no_scores", lambda folder: (folder / "scores.npz").unlink()
    )
    found["no_study_options"] = copied(found["pool"], "no_study_options", changes["no_options"])
    found["few_scores"] = copied(
        found["pool"],
        "few_scores",
        lambda folder: np.savez(folder / "scores.npz", numbers=np.arange(12)),
    )

    rng = np.random.default_rng(0)
    images = rng.random((12, 8, 8))
    spoilt = images.copy()
    spoilt[0, :2, :2] = np.nan
    arrays = {
        "flipped": {"images": images},
        "objects": {"images": images, "labels": np.array([None] * 12)},
        "nans": {"images": spoilt},
        "wild": {"images": images * 300},
        "unlabelled": {"images": images},
        "giant": {"images": images, "labels": np.arange(12) % 2 * 10**12},
        "negative": {"images": images, "labels": np.arange(12) % 2 - 1},
        "pairs": {"x": rng.random((6, 4)), "x_prime": rng.random((6, 4))},
        "uneven": {"x": rng.random((3, 4)), "x_prime": rng.random((2, 4))},
        "sets": {name: np.arange(2) for name in ("candidate", "independent", "shared", "external")},
    }
    for name, held in arrays.items():
        found[name] = home / f"{name}.npz"
        np.savez(found[name], **held)
    raw = bytearray(found["flipped"].read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 10] ^= 64  # the compression, in the central directory
    found["flipped"].write_bytes(raw)
    found["torn"] = home / "torn.npz"
    found["torn"].write_bytes(found["pairs"].read_bytes()[:100])
    found["text"] = home / "text.txt"
    found["text"].write_text("no data [")
    for name in ("empty", "photos"):
        found[name] = home / name
        found[name].mkdir()
    found["whole"] = home / "whole.pt"
    torch.save(torch.nn.Linear(2, 3), found["whole"])
    found["other_weights"] = home / "other_weights.pt"
    torch.save({"net": {"backbone.weight": torch.ones(2)}}, found["other_weights"])
    (home / "networks_of_cases.py").write_text(SOURCE)
    return found


@pytest.fixture(scope="session")
def outcome(places):
    """Runs a case once into a folder that is there and once into one that is not."""
    home = places["run"].parent
    known = {}

    def run(case):
        if case in known:
            return known[case]
        command, _, of_run = case.command.partition(" of a ")
        # A finished run of the command where there is one, else of another.
        finished = {"train": "run", "memorization": "split"}.get(command, "predict")
        there, new = home / f"out_{finished}", home / "new"
        if not there.exists():
            shutil.copytree(places[finished], there)
        small = TABLES[case.command][0]
        kind = case.arguments.split()[:1] if command == "bench" else []
        rest = case.arguments.split()[1:] if command == "bench" else [case.arguments]
        filled = shlex.split(" ".join([small, *rest]).format(**places))
        found = []
        for out in (there, new):
            before = contents(out)
            target = [] if of_run else ["--out", str(out)]
            with contextlib.chdir(home):
                status, told = called([command, *kind, *filled, *target])
            found.append((status, told, before == contents(out)))
            if not found[-1][2]:
                shutil.rmtree(out)
        known[case] = found
        return found

    return run


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_command_is_refused_in_one_line(case, outcome):
    told = ""
    for status, told, _ in outcome(case):
        assert status == 2, told
        assert re.fullmatch(r"sslsim: error: [^\n]+\n", told), told
        assert not set(told) & set("╭╰│")
        assert "Traceback" not in told
        assert "weights_only" not in told
    # Of a new folder: one that is there may be refused for what it holds.
    assert any(part in told for part in case.expected.split("|")), told


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_command_leaves_its_folder_as_it_was(case, outcome):
    assert [unchanged for *_, unchanged in outcome(case)] == [True, True]


def test_there_are_cases_of_every_command():
    assert {case.command.partition(" of a ")[0] for case in CASES} == {
        study.name.split()[0] for study in STUDIES
    }
    assert len(CASES) >= 250

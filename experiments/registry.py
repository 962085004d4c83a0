"""The commands of ``sslsim``, one row each."""

from __future__ import annotations

from dataclasses import replace

from experiments.study import Study

_COMPARE = Study(
    "compare",
    "Predict the steps, then train on the same pairs and compare.",
    options="experiments.options:CompareOptions",
    run="experiments.studies.linear.compare:compare",
    figure="paper_figs.runs.linear:draw_comparison",
)

STUDIES: tuple[Study, ...] = (
    Study(
        "predict",
        "Predict when each dimension of a linear Barlow Twins embedding is learned.",
        options="experiments.options:PredictOptions",
        run="experiments.studies.linear.predict:predict",
        figure="paper_figs.runs.linear:draw_prediction",
    ),
    replace(
        _COMPARE,
        instead={
            "run": replace(
                _COMPARE,
                run="experiments.studies.training.compare:compare_run",
                figure="paper_figs.runs.training:draw_run_comparison",
                folder="run",
            ),
            "width": replace(
                _COMPARE,
                run="experiments.studies.linear.wide:wide",
                figure="paper_figs.runs.linear:draw_widths",
            ),
        },
    ),
    Study(
        "train",
        "Train a self-supervised network and record its spectra as it learns.",
        options="sslsim.runs.options:TrainOptions",
        run="experiments.studies.training.train:train_network",
        figure="paper_figs.runs.training:draw_training",
    ),
    Study(
        "ntk",
        "Predict embeddings and steps of a network from its tangent kernel.",
        options="experiments.options:NtkOptions",
        run="experiments.studies.kernels.ntk:ntk",
        figure="paper_figs.runs.kernels:draw_kernel",
    ),
    Study(
        "forecast",
        "Forecast when the modes of a network in training will be learned.",
        options="experiments.options:ForecastOptions",
        run="experiments.studies.training.forecast:forecast",
        figure="paper_figs.runs.forecast:draw_forecast",
    ),
    Study(
        "overfitting",
        "Measure accuracy and coding rate reduction of every layer over training.",
        options="experiments.options:OverfittingOptions",
        run="experiments.studies.overfitting.study:overfitting",
        figure="paper_figs.runs.overfitting:draw_overfitting",
    ),
    Study(
        "umm",
        "Fine-tune a network so that its late layers forget what they memorised.",
        options="experiments.studies.umm.options:UmmCommand",
        run="experiments.studies.umm.finetune:umm",
        figure="paper_figs.runs.umm:draw_umm",
    ),
    Study(
        "umm-sweep",
        "Fine-tune several runs in several variants and compare them in one table.",
        options="experiments.studies.umm.options:UmmSweepCommand",
        run="experiments.studies.umm.sweep:umm_sweep",
        figure="paper_figs.runs.umm:draw_sweep",
    ),
    Study(
        "memorization",
        "Score how much encoders memorise single images.",
        options="experiments.studies.memorization.options:MemorizationOptions",
        run="experiments.studies.memorization.study:memorization",
        figure="paper_figs.runs.memorization:draw_memorization",
    ),
    Study(
        "memorization-removal",
        "Train without the most memorised, random or least memorised images.",
        options="experiments.studies.memorization.options:RemovalOptions",
        run="experiments.studies.memorization.removal:memorization_removal",
        figure="paper_figs.runs.retraining:draw_removal",
    ),
    Study(
        "memorization-penalty",
        "Train with a penalty on the distance between two views.",
        options="experiments.studies.memorization.options:PenaltyOptions",
        run="experiments.studies.memorization.penalty:memorization_penalty",
        figure="paper_figs.runs.retraining:draw_penalty",
    ),
    Study(
        "report",
        "Make one self-contained HTML page from run folders.",
        options="experiments.options:ReportOptions",
        run="experiments.report:report",
        folder=None,
    ),
    Study(
        "figures",
        "Build the figures of the paper from stored results.",
        options="experiments.options:FiguresOptions",
        run="paper_figs.figures:build",
    ),
    Study(
        "campaign",
        "Run a queue of jobs, as many as fit into a time budget.",
        options="experiments.options:CampaignOptions",
        run="experiments.campaign.campaign:campaign",
        folder=None,
    ),
    Study(
        "bench theory",
        "Time predictions against a plain diagonalisation and against training.",
        options="experiments.bench.options:BenchTheoryOptions",
        run="experiments.bench.theory:bench_theory",
    ),
    Study(
        "bench train",
        "Time losses, augmentations and training steps against other packages.",
        options="experiments.bench.options:BenchTrainOptions",
        run="experiments.bench.train:bench_train",
    ),
    Study(
        "bench throughput",
        "Time training against bare passes of the same network.",
        options="experiments.bench.options:BenchThroughputOptions",
        run="experiments.bench.throughput:bench_throughput",
    ),
    Study(
        "bench ntk",
        "Time exact tangent kernels against other ways to compute them.",
        options="experiments.bench.options:BenchNtkOptions",
        run="experiments.bench.ntk:bench_ntk",
    ),
    Study(
        "bench coding-rate",
        "Time the coding rate and its gradient against the published formula.",
        options="experiments.bench.options:BenchCodingRateOptions",
        run="experiments.bench.coding_rate:bench_coding_rate",
    ),
    Study(
        "bench memorization",
        "Time encoders trained together, and scoring against bare forward passes.",
        options="experiments.bench.options:BenchMemorizationOptions",
        run="experiments.bench.memorization:bench_memorization",
    ),
)

GROUPS = {"bench": "Measure what the package costs."}
"""Commands of two words by the first one, with one line for the help."""

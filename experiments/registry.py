"""The commands of ``sslsim``, one row each: all that help, report and command line know of them."""

from __future__ import annotations

from dataclasses import replace

from experiments.study import Study

_PREDICT = Study(
    "predict",
    "Predict when each dimension of a linear Barlow Twins embedding is learned.",
    options="experiments.options:PredictOptions",
    run="experiments.studies.linear.predict:predict",
    files=("prediction.json", "prediction.npz", "prediction.png"),
    tables="experiments.studies.linear.tables:prediction_summary",
    figure="paper_figs.runs.linear:draw_prediction",
    captions={
        "prediction.png": "Predicted loss and eigenvalue curves, with the steps and their intervals"
    },
    seeded=True,
)
_COMPARE = Study(
    "compare",
    "Predict the steps, then train on the same pairs and compare.",
    options="experiments.options:CompareOptions",
    run="experiments.studies.linear.compare:compare",
    files=("comparison.json", "comparison.npz", "comparison.png"),
    tables="experiments.studies.linear.tables:comparison_summary",
    figure="paper_figs.runs.linear:draw_comparison",
    captions={
        "comparison.png": "Loss and eigenvalues, measured and predicted, with the predicted steps"
    },
    seeded=True,
)
_NTK = Study(
    "ntk",
    "Predict embeddings and steps of a network from its tangent kernel.",
    options="experiments.options:NtkOptions",
    run="experiments.studies.kernels.ntk:ntk",
    files=("ntk.json", "ntk.npz", "ntk.png"),
    tables="experiments.studies.kernels.tables:ntk_summary",
    figure="paper_figs.runs.kernels:draw_kernel",
    captions={
        "ntk.png": "What the tangent kernel predicts, beside the network",
        "ntk_training.png": "The tangent kernel and its predictions over training",
    },
    seeded=True,
)


def _bench(kind: str, summary: str) -> Study:
    module, options = kind.replace("-", "_"), kind.title().replace("-", "")
    return Study(
        f"bench {kind}",
        summary,
        options=f"experiments.bench.options:Bench{options}Options",
        run=f"experiments.bench.{module}:bench_{module}",
        files=("bench.json",),
        tables="experiments.bench.tables:bench_summary",
        prints=True,
    )


STUDIES: tuple[Study, ...] = (
    replace(
        _PREDICT,
        instead={
            "kernel": replace(
                _PREDICT, run="experiments.studies.linear.kernel_prediction:predict_kernel"
            )
        },
    ),
    replace(
        _COMPARE,
        instead={
            "run": replace(
                _COMPARE,
                run="experiments.studies.training.compare:compare_run",
                files=("comparison.json", "comparison.png"),
                figure="paper_figs.runs.training:draw_run_comparison",
                folder="run",
            ),
            "width": replace(
                _COMPARE,
                run="experiments.studies.linear.wide:wide",
                files=("wide.json", "wide.npz", "wide.png"),
                tables="experiments.studies.linear.tables:wide_summary",
                figure="paper_figs.runs.linear:draw_widths",
                captions={
                    "wide.png": "Error of the kernel's prediction against width, and staircases"
                },
                seeded=False,
            ),
        },
    ),
    Study(
        "train",
        "Train a self-supervised network and record its spectra as it learns.",
        options="sslsim.runs.options:TrainOptions",
        run="experiments.studies.training.train:train_network",
        files=("training.json", "records.jsonl", "records.npz", "run.png"),
        tables="experiments.studies.training.tables:training_summary",
        figure="paper_figs.runs.training:draw_training",
        captions={
            "run.png": "Held-out loss, eigenvalues of the embeddings' correlation, and detected "
            "steps",
            "embeddings.gif": "Embeddings of the probe set along three principal directions over "
            "training",
        },
        seeded=True,
    ),
    replace(
        _NTK,
        instead={
            "run ...": replace(
                _NTK,
                files=("ntk_across.json", "ntk_across.npz", "ntk_across.png"),
                tables="experiments.studies.kernels.tables:ntk_across_summary",
                captions={
                    "ntk_across.png": "Alignment of embeddings and predictions within and across "
                    "methods"
                },
            )
        },
    ),
    Study(
        "accelerate",
        "Train in ways that may learn late modes sooner, and compare them.",
        options="experiments.studies.acceleration.options:AccelerateOptions",
        run="experiments.studies.acceleration.study:accelerate",
        parts="experiments.studies.acceleration.study:accelerate_parts",
        files=("acceleration.json", "acceleration.png"),
        tables="experiments.studies.acceleration.tables:acceleration_summary",
        figure="paper_figs.runs.acceleration:draw_acceleration",
        captions={
            "acceleration.png": "Modes learned and accuracy over updates and processor time, by "
            "way to train"
        },
    ),
    Study(
        "forecast",
        "Forecast when the modes of a network in training will be learned.",
        options="experiments.options:ForecastOptions",
        run="experiments.studies.forecasts.study:forecast",
        files=("forecast.json", "forecast.npz", "forecast.png"),
        tables="experiments.studies.forecasts.tables:forecast_summary",
        figure="paper_figs.runs.forecast:draw_forecast",
        captions={"forecast.png": "Forecasts of steps against what happened"},
    ),
    Study(
        "spectra",
        "Measure spectra, ranks and steps of embeddings that any tool has stored.",
        options="experiments.options:SpectraOptions",
        run="experiments.studies.training.spectra:spectra",
        files=("spectra.json", "spectra.npz", "spectra.png"),
        tables="experiments.studies.training.tables:spectra_summary",
        figure="paper_figs.runs.training:draw_spectra",
        captions={"spectra.png": "Effective rank and eigenvalues, with the detected steps"},
    ),
    Study(
        "modes",
        "Say what the modes of trained networks mean, and what they are good for.",
        options="experiments.studies.modes.options:ModesOptions",
        run="experiments.studies.modes.study:measure_modes",
        files=("modes.json", "modes.npz", "modes.png", "mode_images.png"),
        tables="experiments.studies.modes.tables:modes_summary",
        figure="paper_figs.runs.modes:draw_modes",
        captions={
            "modes.png": "Correlation of modes with statistics of images, and accuracy by the "
            "number of modes",
            "mode_images.png": "Images at the low and high ends of the first modes",
            "mode_overlap.png": "Overlap of the first modes of several networks",
        },
    ),
    Study(
        "overfitting",
        "Measure accuracy and coding rate reduction of every layer over training.",
        options="experiments.options:OverfittingOptions",
        run="experiments.studies.overfitting.study:overfitting",
        files=("overfitting.json", "measured.jsonl", "overfitting.png"),
        tables="experiments.studies.overfitting.tables:overfitting_summary",
        figure="paper_figs.runs.overfitting:draw_overfitting",
        captions={"overfitting.png": "Accuracy and coding rate reduction by layer and checkpoint"},
    ),
    Study(
        "umm",
        "Fine-tune a network so that its late layers forget what they memorised.",
        options="experiments.studies.umm.options:UmmCommand",
        run="experiments.studies.umm.finetune:umm",
        files=("umm.json", "records.jsonl", "records.npz", "umm.png"),
        tables="experiments.studies.umm.tables:umm_summary",
        figure="paper_figs.runs.umm:draw_umm",
        captions={"umm.png": "Fine-tuning: records, and every layer before and after"},
        seeded=True,
    ),
    Study(
        "umm-sweep",
        "Fine-tune several runs in several variants and compare them in one table.",
        options="experiments.studies.umm.options:UmmSweepCommand",
        run="experiments.studies.umm.sweep:umm_sweep",
        parts="experiments.studies.umm.sweep:sweep_parts",
        files=("table.json", "umm_sweep.png"),
        tables="experiments.studies.umm.tables:sweep_summary",
        figure="paper_figs.runs.umm:draw_sweep",
        captions={"umm_sweep.png": "Changes beyond the control's, with intervals over seeds"},
    ),
    Study(
        "memorization",
        "Score how much encoders memorise single images.",
        options="experiments.studies.memorization.options:MemorizationOptions",
        run="experiments.studies.memorization.study:memorization",
        parts="experiments.studies.memorization.study:encoder_parts",
        files=("memorization.json", "scores.npz", "memorization.png"),
        tables="experiments.studies.memorization.tables:memorization_summary",
        figure="paper_figs.runs.memorization.scores:draw_memorization",
        captions={
            "memorization.png": "Scores of memorisation, and the images of the highest and lowest"
        },
    ),
    Study(
        "memorization-removal",
        "Train without the most memorised, random or least memorised images.",
        options="experiments.studies.memorization.options:RemovalOptions",
        run="experiments.studies.memorization.removal:memorization_removal",
        parts="experiments.studies.memorization.removal:removal_parts",
        files=("removal.json", "removal.png"),
        tables="experiments.studies.memorization.tables:removal_summary",
        figure="paper_figs.runs.retraining:draw_removal",
        captions={"removal.png": "Accuracy by the share of images removed from training"},
    ),
    Study(
        "memorization-penalty",
        "Train with a penalty on the distance between two views.",
        options="experiments.studies.memorization.options:PenaltyOptions",
        run="experiments.studies.memorization.penalty:memorization_penalty",
        parts="experiments.studies.memorization.penalty:penalty_parts",
        files=("penalty.json", "penalty.png"),
        tables="experiments.studies.memorization.tables:penalty_summary",
        figure="paper_figs.runs.retraining:draw_penalty",
        captions={
            "penalty.png": "Scores of memorisation and accuracy by the strength of the penalty"
        },
    ),
    Study(
        "memorization-modes",
        "Measure which modes memorise, and what undoing or removing them changes.",
        options="experiments.studies.mode_memorization.options:ModeMemorizationOptions",
        run="experiments.studies.mode_memorization.study:memorization_modes",
        parts="experiments.studies.mode_memorization.study:mode_parts",
        files=("memorization_modes.json", "memorization_modes.png"),
        tables="experiments.studies.mode_memorization.tables:mode_summary",
        figure="paper_figs.runs.memorization.modes:draw_modes",
        captions={
            "memorization_modes.png": "Memorisation, coding rate reduction and accuracy by mode"
        },
    ),
    Study(
        "report",
        "Make one self-contained HTML page from run folders.",
        options="experiments.options:ReportOptions",
        run="experiments.report:report",
        folder=None,
    ),
    Study(
        "export",
        "Write runs and their records as CSV tables, or for TensorBoard.",
        options="experiments.options:ExportOptions",
        run="experiments.studies.training.export:export",
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
        files=("campaign.json",),
        tables="experiments.campaign.tables:campaign_summary",
        folder=None,
        prints=True,
    ),
    _bench("theory", "Time predictions against a plain diagonalisation and against training."),
    _bench("train", "Time losses, augmentations and training steps against other packages."),
    _bench("throughput", "Time training against bare passes of the same network."),
    _bench("ntk", "Time exact tangent kernels against other ways to compute them."),
    _bench("coding-rate", "Time the coding rate and its gradient against the published formula."),
    _bench(
        "memorization", "Time encoders trained together, and scoring against bare forward passes."
    ),
)

RECORDED = Study(
    "record",
    "A training in a loop of one's own, recorded by sslsim.Recorder.",
    options="sslsim.runs.options:RecordOptions",
    run="",
    files=("training.json", "records.jsonl", "records.npz"),
    tables="experiments.studies.training.tables:training_summary",
    seeded=True,
)
"""No command, but a run folder that the report knows."""

GROUPS = {"bench": "Measure what the package costs."}
"""Commands of two words by the first one, with one line for the help."""

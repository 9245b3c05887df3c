"""Commands that find wrong labels, fix them, and ask what other training data would have made."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from trak_core.commands.once import Command
from trak_core.commands.subject import run_with_subject, subject_option
from trak_core.commands.terminal import BEGINS_AGAIN, clear_errors, retraining_bar
from trak_core.evidence.retraining import N_SEEDS as N_LABEL_SEEDS
from trak_core.evidence.retraining import as_trial
from trak_core.evidence.what_if import N_SEEDS, as_question, read_removed
from trak_core.store.catalog import find_run
from trak_core.store.reviews import ReviewLog, Reviews
from trak_core.store.run import Run, open_run
from trak_core.store.targets import DEFAULT
from trak_core.views.label_quality import first_suspects, planted_quality, suspects_text
from trak_core.views.model_quality import has_not_learnt, learnt_sentence, quality_of
from trak_core.views.retraining import corrections_of, left_aside_sentence, retraining_facts, retraining_text
from trak_core.views.review import data_fingerprint, standing_log
from trak_core.views.review_tables import read_label_file, write_label_file
from trak_core.views.what_if import predict_question, what_if_text


@click.command(cls=Command)
@click.argument("run")
@click.option("--signal", "by", help="Rank by this signal; by the one that the review begins with by default.")
@click.option("--first", type=click.IntRange(1), default=20, show_default=True, help="How many to print.")
@click.option("--cleanlab", "with_cleanlab", is_flag=True, help="Compare with cleanlab, where errors were planted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def suspects(run: str, by: str | None, first: int, with_cleanlab: bool, as_json: bool) -> None:
    """Print the training labels of RUN (a name or a path) that look most like wrong ones.

    Where labels were made wrong on purpose (--flip-labels), also how well every signal finds them.
    """
    with clear_errors(), open_run(find_run(run)) as opened:
        found = first_suspects(opened, by, first)
        if not as_json:
            if has_not_learnt(quality := quality_of(opened)):
                click.echo(f"{learnt_sentence(quality)} What stands on them says little.\n")
            click.echo(suspects_text(opened, found, with_cleanlab), nl=False)
            return
        measured = planted_quality(opened, with_cleanlab)
        facts = {
            **asdict(found),
            "class_names": opened.info.class_names,
            "quality": None if measured is None else {name: asdict(of) for name, of in measured.items()},
        }
        click.echo(json.dumps(facts, indent=2))


@click.command(name="what-if", cls=Command)
@click.argument("run")
@click.option("--test", "test_idx", type=int, required=True, help="Number of the test example.")
@click.option("--remove", default="", help="Numbers of train examples, as in 1,2,3; - reads them from standard input.")
@click.option("--top-proponents", type=click.IntRange(0), default=0, help="Remove so many proponents as well.")
@click.option("--target", help="Whose proponents, by name; the label or the default of the test example otherwise.")
@click.option("--seeds", type=int, default=N_SEEDS, show_default=True, help="Pairs of models to train.")
@click.option("--method", help="Whose scores predict and name proponents; the run's own by default.")
@subject_option
def what_if(
    run: str,
    test_idx: int,
    remove: str,
    top_proponents: int,
    target: str | None,
    seeds: int,
    method: str | None,
    subject: Path | None,
) -> None:
    """Retrain the models of RUN (a name or a path) with and without some train examples.

    Prints predicted and actual change of the margin of every class. The answer is kept in the run's history, and the
    same question is answered from there.
    """
    with clear_errors(BEGINS_AGAIN):
        run_dir = run_with_subject(run, subject)
        with open_run(run_dir) as opened:
            removed = read_removed(sys.stdin.read() if remove == "-" else remove)
            if top_proponents:
                named = opened.proponents(test_idx, top_proponents, method, DEFAULT if target is None else target)
                removed += map(int, named["train_idx"])
            question = as_question(opened, test_idx, removed, seeds)
            predicted, titles = predict_question(opened, question, method), opened.method_titles
        from trak_core.engine.retraining import verify_what_if  # torch: retraining pays for it

        with retraining_bar() as show:
            verified = verify_what_if(run_dir, test_idx, removed, seeds, show)
        click.echo(what_if_text(predicted, verified, titles[predicted.method]), nl=False)


@click.command(cls=Command)
@click.argument("run")
@click.option("--labels", "file", type=click.Path(path_type=Path), help="Labels to try; the review's by default.")
@click.option("--n-seeds", type=int, default=N_LABEL_SEEDS, show_default=True, help="Models on each set of labels.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@subject_option
def retrain(run: str, file: Path | None, n_seeds: int, as_json: bool, subject: Path | None) -> None:
    """Retrain the models of RUN (a name or a path) on its labels as given and as cleaned, and compare.

    The cleaned labels are those of the review, or of a CSV or Parquet file with the columns train_idx (or origin) and
    new_label (number or name of a class; empty leaves the example out). Prints test accuracy before and after with 95%
    intervals, and the test examples that changed. The answer is kept beside the verdicts, and the same labels with as
    many models are answered from there.
    """
    with clear_errors(BEGINS_AGAIN):
        run_dir = run_with_subject(run, subject)
        with open_run(run_dir) as opened:
            log = ReviewLog() if file is not None else _standing(opened)
            corrections = corrections_of(opened, log) if file is None else read_label_file(opened, file)
            as_trial(opened, corrections, n_seeds)
        from trak_core.engine.retraining import retrain_on_labels  # torch: retraining pays for it

        with retraining_bar() as show:
            found = retrain_on_labels(run_dir, corrections, n_seeds, show)
        with open_run(run_dir) as opened:
            facts = {**retraining_facts(opened, found), "n_left_aside": log.n_of_other_data + log.n_not_in_run}
            said = json.dumps(facts, indent=2) + "\n" if as_json else retraining_text(opened, found)
        click.echo(said, nl=False)
        if aside := left_aside_sentence(log):
            click.echo(aside, err=as_json)


@click.command(cls=Command)
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
def labels(run: str, file: Path, overwrite: bool) -> None:
    """Write the labels of RUN (a name or a path), as the review cleaned them, to FILE (.csv or .parquet)."""
    with clear_errors(BEGINS_AGAIN), open_run(find_run(run)) as opened:
        log = _standing(opened)
        corrections = write_label_file(opened, log, file, overwrite)
        click.echo(
            f"The labels of {opened.info.n_train:,} train examples are in {file}: {len(corrections.relabelled):,} "
            f"changed, {len(corrections.excluded):,} removed (no new label)."
        )
        if aside := left_aside_sentence(log):
            click.echo(aside)


def _standing(run: Run) -> ReviewLog:
    return standing_log(run, Reviews(run.path, data_fingerprint(run)).read())

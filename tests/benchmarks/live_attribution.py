"""What a person's own input costs, and how well inputs unlike the data are told: prints both.

Run it from the root of the repository: `python tests/benchmarks/live_attribution.py data/runs/digits [RUN ...]`. The
panel is drawn by itself, as the Explore page shows it, with another image or text each time. Rates of warnings: the
limit is taken from one half of the test examples and tried on the other, so that a false alarm is one.
"""

import argparse
import io
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from trak_core.live.attribution import live_scorer
from trak_core.live.new_input import explain_new, fields_of
from trak_core.live.run import LiveRun, open_run
from trak_core.live.scorer import LiveScorer, prepare_scorer
from trak_core.subjects import find_recipe
from trak_core.subjects.drawn_digit import read_digit

ROOT = Path(__file__).resolve().parents[2]
N = 20
LETTERS = "ABCDEFGHJKMNPQRTUVWXYZabdefghkmnprtwxy"
TEXTS = (
    "The minister said on Tuesday that the government will not raise taxes this year, as the opposition had asked.",
    "Peel the apples, roll the dough, and bake for an hour in a hot oven until it is brown and crisp on the top.",
    "She walked down to the river and looked at the boats in the evening light, thinking of her mother.",
    "Our team won the match by two goals to one after a late penalty in front of forty thousand people.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "Der Hund lief über die Straße, und in der Nacht war alles still, is it not so.",
    "Le chat est assis sur la table et la fenêtre est ouverte dans la nuit, of course.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    for path in parser.parse_args().runs:
        with open_run(path) as run:
            print(f"--- {run.info.name}: {run.info.n_train:,} train examples, {run.info.n_checkpoints} checkpoints")
            agreement(run)
            seconds(run)
            warnings_given(run)


def agreement(run: LiveRun) -> None:
    """Both ways of scoring beside the stored scores."""
    for way in ("exact", "features"):
        cpu, wall = time.process_time(), time.perf_counter()
        scorer = prepare_scorer(run, way)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        measured = scorer.agreement
        assert measured is not None
        print(
            f"{way:9} {len(scorer.checkpoints):3} checkpoints, {scorer.n_bytes / 2**20:5.0f} MiB, "
            f"ridge {scorer.ridge:g}: Spearman {measured.spearman:.3f}, {measured.top_overlap:.1f} of {measured.n_top} "
            f"top proponents; prepared in {cpu:.1f} s CPU, {wall:.1f} s"
        )


def seconds(run: LiveRun) -> None:
    """Warm calls and warm reruns of the panel, median and largest."""
    dataset = find_recipe(run.info.recipe).load().dataset
    live_scorer(run)
    (field,) = fields_of(run)
    is_text = dataset.test.texts is not None
    contents = [
        dataset.test.texts[i] if is_text else png(enlarged(dataset.test.thumbnails[i], 300)) for i in range(2 * N)
    ]
    timed("run.attribute of one input", [lambda i=i: run.attribute(dataset.test.inputs[i : i + 1]) for i in range(N)])
    timed("every class, reading included", [lambda i=i: explain_new(run, {field.name: contents[i]}) for i in range(N)])
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_function(panel, default_timeout=300, args=(str(ROOT), str(run.path))).run()

    def rerun(content: object) -> None:
        if is_text:
            app.text_area(key="new text type").set_value(content).run()
        else:
            app.file_uploader(key="new image upload").set_value(("own.png", content, "image/png")).run()
        assert not app.exception and "The model calls this" in str([each.value for each in app.text])

    rerun(contents[-1])
    timed("rerun of the panel", [lambda i=i: rerun(contents[N + i]) for i in range(N - 1)])
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def panel(root: str, path: str) -> None:
    import sys
    from pathlib import Path

    sys.path.insert(0, root)
    from pages.components.new_input import new_input_panel
    from pages.components.view import begin_view
    from trak_core.store.run import open_run

    begin_view()
    with open_run(Path(path)) as run:
        new_input_panel(run)


def timed(what: str, calls: list[Callable[[], object]]) -> None:
    calls[0]()
    wall, cpu = [], []
    for call in calls[1:]:
        began = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    print(
        f"{what:32} CPU {1e3 * np.median(cpu):5.0f} ms (most {1e3 * max(cpu):5.0f}), "
        f"wall {1e3 * np.median(wall):5.0f} ms (most {1e3 * max(wall):5.0f})"
    )


def warnings_given(run: LiveRun) -> None:
    """How often an input is called unlike the data."""
    scorer, random = live_scorer(run), np.random.default_rng(0)
    distances = scorer.similarity.distances[random.permutation(run.info.n_test)]
    halves = (distances[::2], distances[1::2])
    alarms = [(one > np.percentile(other, 99)).mean() for one, other in (halves, halves[::-1])]
    print(f"false alarms by distance {np.mean(alarms):.1%}", end="; ")
    if scorer.similarity.known is not None:
        texts_unlike(scorer, random)
        return
    paper, full = (float(scorer.encoding.inputs(np.full((1, 8, 8), ink))[0, 0]) for ink in (0, 1))
    test = find_recipe(run.info.recipe).load().dataset.test
    ink = ((test.inputs - paper) / (full - paper)).reshape(-1, 8, 8)
    letters = [read_digit(png(letter(each, size))).ink for each in LETTERS for size in (120, 200)]
    sets = {
        "noise": random.integers(0, 17, (200, 8, 8)) / 16,
        "inverted digits": 1 - ink,
        "digits on their side": np.rot90(ink, 1, (1, 2)),
        "letters": np.stack(letters),
    }
    usual = np.percentile(scorer.similarity.distances, 99)
    for name, inks in sets.items():
        inputs = torch.from_numpy(scorer.encoding.inputs(np.asarray(inks, dtype=np.float32)))
        print(f"{name} {(scorer.similarity.measure(inputs) > usual).mean():.0%}", end="; ")
    print()


def texts_unlike(scorer: LiveScorer, random: np.random.Generator) -> None:
    assert scorer.similarity.known is not None and scorer.encoding is not None
    known = scorer.similarity.known[random.permutation(len(scorer.similarity.known))]
    halves = (known[::2], known[1::2])
    alarms = [(one < np.percentile(other, 1)).mean() for one, other in (halves, halves[::-1])]
    shares = scorer.encoding.known_share(TEXTS)
    print(f"by unknown words {np.mean(alarms):.1%}; other texts {(shares < np.percentile(known, 1)).mean():.0%}")


def enlarged(thumbnail: bytes, side: int) -> Image.Image:
    return Image.open(io.BytesIO(thumbnail)).resize((side, side), Image.Resampling.BICUBIC)


def letter(character: str, size: int) -> Image.Image:
    image = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(image).text((150, 150), character, font=ImageFont.load_default(size), fill=0, anchor="mm")
    return image


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()

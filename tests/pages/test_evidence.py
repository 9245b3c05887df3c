import duckdb

from tests.pages.conftest import words
from trak_core.store.run import open_run


def test_evidence_shows_lds_interval_ceiling_and_baselines(runs, open_page):
    app = open_page("evidence", test="17")
    assert not app.exception
    with open_run(runs / "digits") as run:
        lds = run.lds()
    said = words(app)
    assert "40 models were retrained on random halves" in said
    assert f"LDS {lds.mean:.2f}** of at most {lds.noise_ceiling:.2f}" in said
    assert f"95% interval {lds.ci_low:.2f} to {lds.ci_high:.2f}" in said
    assert app.dataframe[0].value["method"].tolist()[0] == "TRAK"
    assert set(app.dataframe[0].value["method"]) == {"TRAK", "Same class", "Embedding similarity", "Random"}
    assert len(app.get("plotly_chart")) == 4
    assert f"LDS {lds.per_test[17]:.2f}" in said


def test_evidence_of_an_undefined_lds_says_so(runs, open_page):
    """A method whose scores are all the same has no rank correlation; nothing on the page is NaN."""
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute(
            'UPDATE scores SET "values" = list_transform("values", lambda x: 0)::FLOAT[1437] WHERE method = \'random\''
        )
        connection.execute(
            "UPDATE lds SET lds = NULL, ci_low = NULL, ci_high = NULL, trust = 'not measured' WHERE method = 'random'"
        )
        connection.execute("UPDATE lds_summary SET lds = NULL, ci_low = NULL, ci_high = NULL WHERE method = 'random'")
    app = open_page("evidence", method="Random")
    assert not app.exception
    assert "LDS undefined" in words(app)
    assert "nan" not in words(app).lower()


def test_evidence_before_it_is_there_says_when_it_comes(runs, open_page):
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        for table in ("lds", "lds_summary", "class_lds", "outcomes", "class_outcomes"):
            connection.execute(f"DELETE FROM {table}")
    app = open_page("evidence")
    assert not app.exception
    assert "The evidence is not there yet" in words(app)
    explore = open_page("explore", test="17")
    assert not explore.exception
    assert "trust: not measured" in words(explore)

"""The graph of a pipeline: each stage once, as text, as Mermaid and as DOT."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.work import with_spec
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.pipelines.graph import as_dot, as_mermaid, as_text, nodes
from tuner.pipelines.model import Grouping, Pipeline, Stage


def stage(name, *after, source="", grouping="", **spec):
    label = name.partition("[")[2].removesuffix("]")
    work = with_spec(job=name, **spec)
    return Stage(name, label, work, after, source, grouping or name)


def pipeline(*stages, keep=(), losers="keep"):
    groups = dict.fromkeys(each.grouping for each in stages)
    groupings = [
        Grouping(
            name,
            tuple(each.name for each in stages if each.grouping == name),
            "best" if name in keep else "all",
            losers if name in keep else "keep",
        )
        for name in groups
    ]
    return Pipeline("p", Path("p.yaml"), stages, tuple(groupings))


def reviews(losers="keep"):
    first = stage("quickstart")
    known = new_tuned_model(first.work).name
    return pipeline(
        first,
        stage("grid[rate=1]", "quickstart", grouping="grid"),
        stage("grid[rate=2]", "quickstart", grouping="grid"),
        stage("polish", "grid", source="grid"),
        stage("last", "polish", source="polish"),
        stage("beside", "quickstart", "grid", base_model="", tuned_model_source=known),
        keep={"grid"},
        losers=losers,
    )


STATES = {
    "quickstart": "DONE",
    "grid[rate=1]": "SELECTED",
    "grid[rate=2]": "NOT SELECTED",
    "polish": "TUNE",
}
NOTES = {"quickstart": "0.90", "grid[rate=1]": "0.93"}


def test_the_text_shows_variants_what_is_tuned_further_and_what_only_waits():
    assert (
        as_text(reviews("delete"))
        == """\
quickstart
|-> grid  2 variants, the best by exact_match is shared, the others are deleted; after quickstart
|   |-- grid[rate=1]
|   |-- grid[rate=2]
|   `-> polish  tuned from the best of grid
|       `-> last  tuned from polish
`-> beside  tuned from quickstart, after grid
"""
    )


def test_the_text_shows_how_far_each_stage_is():
    assert (
        as_text(reviews(), STATES, NOTES)
        == """\
quickstart            DONE          0.90
|-> grid  2 variants, the best by exact_match is shared, the others are kept; after quickstart
|   |-- grid[rate=1]  SELECTED      0.93
|   |-- grid[rate=2]  NOT SELECTED
|   `-> polish        TUNE          tuned from the best of grid
|       `-> last  tuned from polish
`-> beside  tuned from quickstart, after grid
"""
    )


def test_the_text_shows_that_all_variants_are_kept():
    both = pipeline(stage("a[x=1]", grouping="a"), stage("a[x=2]", grouping="a"))
    one = pipeline(stage("a[x=1]", grouping="a"))

    assert as_text(both) == "a  2 variants, all are kept\n|-- a[x=1]\n`-- a[x=2]\n"
    assert as_text(one) == "a  1 variant, all are kept\n`-- a[x=1]\n"


def test_mermaid_shows_variants_states_and_what_only_waits():
    assert (
        as_mermaid(reviews(), STATES, NOTES)
        == """\
flowchart LR
s0["quickstart<br/>DONE 0.90"]
style s0 fill:#d5ecd4
subgraph g1["grid: 2 variants, the best by exact_match is shared, the others are kept"]
s1["rate=1<br/>SELECTED 0.93"]
style s1 fill:#a9dca6
s2["rate=2<br/>NOT SELECTED"]
style s2 fill:#e8e8e8
end
s0 -.-> g1
s3["polish<br/>TUNE"]
style s3 fill:#d3e4f7
g1 --> s3
s5["beside"]
style s5 fill:#ffffff
s0 --> s5
g1 -.-> s5
s4["last"]
style s4 fill:#ffffff
s3 --> s4
"""
    )


def test_dot_shows_variants_states_and_what_only_waits():
    lines = [line.strip() for line in as_dot(reviews(), STATES, NOTES).splitlines()]

    assert lines[0] == 'digraph "p" {'
    assert 's1 [label="rate=1\\nSELECTED 0.93", fillcolor="#a9dca6"];' in lines
    assert "s0 -> s1 [style=dashed, lhead=cluster_g1];" in lines
    assert "s2 -> s3 [ltail=cluster_g1];" in lines
    assert "s0 -> s5 [];" in lines
    assert lines.count("}") == 2


@pytest.mark.parametrize("draw", [as_mermaid, as_dot])
def test_special_characters_in_names_are_escaped(draw):
    name = '<script>"x"</script>&\x1b[31m\\'
    drawn = draw(pipeline(stage(name)), {name: '"];'})

    assert "\x1b" not in drawn
    if draw is as_mermaid:
        assert "<script>" not in drawn
        assert drawn.count('"') == 2
    else:
        assert '\\"x\\"' in drawn


@st.composite
def dags(draw):
    count = draw(st.integers(1, 9))
    stages = []
    for n in range(count):
        name = f"s{n}"
        after = draw(st.sets(st.integers(0, n - 1))) if n else set()
        names = [f"s{each}" for each in sorted(after)]
        source = draw(st.sampled_from(["", *names]))
        variants = draw(st.integers(0, 3))
        made = [f"{name}[x={each}]" for each in range(variants)] or [name]
        stages += [stage(each, *names, source=source, grouping=name) for each in made]
    order = draw(st.permutations(sorted({each.grouping for each in stages})))
    return pipeline(*sorted(stages, key=lambda each: order.index(each.grouping)))


@settings(max_examples=30)
@given(dags())
def test_any_pipeline_is_drawn_with_each_stage_once(drawn):
    words = [line.lstrip("|`-> ").split(" ")[0].rstrip() for line in as_text(drawn).splitlines()]
    names = {each.name for each in drawn.stages} | {each.name for each in drawn.groupings}
    edges = sum(len(node.after) for node in nodes(drawn).values())

    assert sorted(words) == sorted(names)
    assert as_mermaid(drawn).count("\nstyle ") == len(drawn.stages)
    assert as_mermaid(drawn).count(" --> ") + as_mermaid(drawn).count(" -.-> ") == edges
    assert as_dot(drawn).count(" -> ") == edges

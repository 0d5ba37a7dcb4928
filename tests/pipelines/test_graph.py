"""A pipeline drawn: each stage once, nothing over another, and in SVG that any reader takes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.work import with_spec
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.pipelines.drawing import as_svg, layout
from tuner.pipelines.graph import as_text, nodes
from tuner.pipelines.spec import Grouping, Pipeline, Stage

SVG = "{http://www.w3.org/2000/svg}"


def elements(drawn, tag="*"):
    root = ET.fromstring(drawn)  # noqa: S314 -- it is our own
    return list(root.iter(tag if tag == "*" else SVG + tag))


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


STATES = {"quickstart": "DONE", "grid[rate=1]": "WON", "grid[rate=2]": "BEATEN", "polish": "TUNE"}
NOTES = {"quickstart": "0.90", "grid[rate=1]": "0.93"}


def test_the_text_shows_variants_what_is_tuned_further_and_what_only_waits():
    assert (
        as_text(reviews("delete"))
        == """\
quickstart
|-> grid  2 variants, the best by exact_match is shared, the others are deleted; after quickstart
|   |-- grid[rate=1]
|   |-- grid[rate=2]
|   `-> polish  tuned from the winner of grid
|       `-> last  tuned from polish
`-> beside  tuned from quickstart, after grid
"""
    )


def test_the_text_shows_how_far_each_stage_is():
    assert (
        as_text(reviews(), STATES, NOTES)
        == """\
quickstart            DONE    0.90
|-> grid  2 variants, the best by exact_match is shared, the others are kept; after quickstart
|   |-- grid[rate=1]  WON     0.93
|   |-- grid[rate=2]  BEATEN
|   `-> polish        TUNE    tuned from the winner of grid
|       `-> last  tuned from polish
`-> beside  tuned from quickstart, after grid
"""
    )


def test_what_waits_for_several_stands_below_the_one_whose_model_it_tunes():
    drawn = pipeline(
        stage("a"), stage("b[x=1]", grouping="b"), stage("c", "a", "b", source="b"), keep={"b"}
    )

    assert as_text(drawn).splitlines()[-1] == "`-> c  tuned from the winner of b, after a"
    assert as_text(drawn).splitlines()[0] == "a"
    assert as_text(drawn).splitlines()[2] == "|-- b[x=1]"


def test_what_keeps_all_says_so():
    both = pipeline(stage("a[x=1]", grouping="a"), stage("a[x=2]", grouping="a"))
    one = pipeline(stage("a[x=1]", grouping="a"))

    assert as_text(both) == "a  2 variants, all are kept\n|-- a[x=1]\n`-- a[x=2]\n"
    assert as_text(one) == "a  1 variant, all are kept\n`-- a[x=1]\n"


@pytest.mark.slow
def test_a_chain_longer_than_python_s_stack_is_drawn():
    chain = [
        stage("s0"),
        *(stage(f"s{n}", f"s{n - 1}", source=f"s{n - 1}") for n in range(1, 1100)),
    ]

    assert len(as_text(pipeline(*chain)).splitlines()) == 1100
    assert as_svg(pipeline(*chain)).count("<rect") == 1101


def test_the_drawing_names_every_stage_and_why_it_waits():
    drawn = as_svg(reviews(), STATES, NOTES)
    titles = [title.text for title in elements(drawn, "title")]

    assert "grid[rate=1]; WON 0.93; after quickstart" in titles
    assert "polish; TUNE; tuned from the winner of grid" in titles
    assert "beside is tuned from quickstart" in titles
    assert "beside waits for grid" in titles
    assert as_svg(reviews(), STATES, NOTES) == drawn


def test_the_drawing_stands_alone_and_runs_nothing():
    hostile = pipeline(stage("<script>alert('x')</script>&\x1b[31m"))
    drawn = as_svg(hostile, {hostile.stages[0].name: '"><script/>'})
    tags = {element.tag.removeprefix(SVG) for element in elements(drawn)}

    assert tags == {"svg", "title", "rect", "g", "text"}
    assert "href" not in drawn
    assert "\x1b" not in drawn


@pytest.mark.parametrize(("state", "other"), [("DONE", "FAILED"), ("WON", "BEATEN"), ("TUNE", "")])
def test_boxes_are_told_apart_by_their_colours(state, other):
    one = pipeline(stage("a"))

    def fill(word):
        return elements(as_svg(one, {"a": word}), "rect")[-1].get("fill")

    assert fill(state) != fill(other)


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
def test_any_pipeline_is_drawn_with_each_stage_once_and_nothing_over_another(drawn):
    boxes = elements(as_svg(drawn), "g")
    words = [line.lstrip("|`-> ").split(" ")[0].rstrip() for line in as_text(drawn).splitlines()]
    names = {each.name for each in drawn.stages} | {each.name for each in drawn.groupings}

    assert len(boxes) == len(drawn.stages)
    assert sorted(words) == sorted(names)
    assert_apart(nodes(drawn))


def assert_apart(found):
    places = layout(found)
    for name, node in found.items():
        for earlier in node.after:
            assert places[earlier].x + places[earlier].width < places[name].x
    frames = list(places.values())
    for index, one in enumerate(frames):
        for other in frames[:index]:
            beside = one.x + one.width <= other.x or other.x + other.width <= one.x
            below = one.y + one.height <= other.y or other.y + other.height <= one.y
            assert beside or below

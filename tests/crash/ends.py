"""What the end of a run that was killed must be: that of one nobody disturbed."""

from __future__ import annotations

from collections import Counter

from tests.crash import shapes

KEPT, LOST = False, True


def what_is_wrong(result, what, *, loses=KEPT):
    """Nothing, or how the end differs from that of a run nobody disturbed."""
    done, due = Counter(map(tuple, result.effects)), shapes.effects(what)
    if loses:  # who made a model that was beaten is forgotten too, so that it is left alone
        due = +Counter({each: 1 for each in due if each[0] != "delete" or each in done})
    gone = sum(each[0] == "delete" for each in done) if loses else 0
    told = {
        "too much": list((done - due).elements()),
        "missing": list((due - done).elements()),
        "not announced": result.unintended,
        "not told": 0 if loses else shapes.NOTICES[what] - len(set(result.told)),
        "exit code": result.exit_code,
        "phases": [] if result.phases == shapes.PHASES[what] else result.phases,
        "not evaluated": max(0, shapes.EVALUATED[what] - result.evaluated - gone),
    }
    return {key: value for key, value in told.items() if value}


def broken(world, what, kills, *, loses=KEPT):
    """Of these lists of kills those that were not survived, and how."""
    found = {}
    for each in kills:
        result = world(what, each, loses)
        if wrong := what_is_wrong(result, what, loses=loses):
            found[each] = wrong
    return found

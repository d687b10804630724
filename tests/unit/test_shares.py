"""Places for what lasts: whoever takes many of them leaves enough to everybody else."""

from __future__ import annotations

from rustploy_agent.shares import Holder, Lack, Places


def test_a_caller_gets_its_part_and_the_others_the_rest() -> None:
    """Else ten restarts with one token make everybody else's fail."""
    places = Places(8, 4)
    mine = [Holder("token:mine", f"app {number}") for number in range(3)]
    assert [places.take(holder) for holder in mine] == [None, None, Lack.CALLER]
    others = [Holder(f"token:{number}", f"app {number}") for number in range(6)]
    assert [places.take(holder) for holder in others] == [None] * 6
    assert places.take(Holder("token:late")) is Lack.ALL
    places.free(mine[0])
    assert places.take(Holder("token:late")) is None


def test_an_app_gets_half_whoever_asks() -> None:
    """Else several tokens for one app do what one of them may not."""
    places = Places(4, 4)
    of_blog = [Holder(f"token:{number}", "blog") for number in range(3)]
    assert [places.take(holder) for holder in of_blog] == [None, None, Lack.APP]
    assert places.take(Holder("token:3", "shop")) is None


def test_what_is_about_no_app_yet_counts_for_its_caller_alone() -> None:
    """Else two imports by different people keep each other out."""
    places = Places(4, 4)
    assert [places.take(Holder(f"token:{number}")) for number in range(4)] == [None] * 4


def test_a_refused_one_takes_nothing_and_one_place_is_always_had() -> None:
    places = Places(1, 4)
    holder = Holder("token:mine", "blog")
    assert (places.take(holder), places.take(holder)) == (None, Lack.ALL)
    places.free(holder)
    assert places.take(holder) is None
    assert Places(0, 4).take(holder) is Lack.ALL


def test_who_has_none_is_forgotten() -> None:
    """Else each token that ever restarted an app stays in memory."""
    places = Places(4, 2)
    for number in range(1000):
        holder = Holder(f"token:{number}", f"app {number}")
        places.take(holder)
        places.free(holder)
    assert not places._taken

"""Who belongs together: everybody computes the same sets, and they are the best there are."""

from __future__ import annotations

import itertools
import random

import pytest

from messaging.connectivity import Vertex, edges, part_of, partition, rank
from messaging.matrix import Matrix
from messaging.messages import NO_VIEW, Row
from messaging.types import Member, ViewId


def matrix(
    pairs: str, nodes: int, *, views: dict[int, ViewId] | None = None, votes: dict[int, int] | None = None
) -> dict[int, Vertex]:
    """Vertices from pairs such as "1-2 2-3" (both hear) or "1>2" (2 hears 1)."""
    hears: dict[int, set[int]] = {node_id: {node_id} for node_id in range(1, nodes + 1)}
    for pair in pairs.split():
        a, b = int(pair[0]), int(pair[2])
        hears[b].add(a)
        if pair[1] == "-":
            hears[a].add(b)
    return {
        node_id: Vertex(node_id, (votes or {}).get(node_id, 1), (views or {}).get(node_id, NO_VIEW), frozenset(heard))
        for node_id, heard in hears.items()
    }


def parts(vertices: dict[int, Vertex]) -> list[list[int]]:
    return [sorted(part) for part in partition(vertices)]


@pytest.mark.parametrize(
    ("pairs", "nodes", "expected"),
    [
        ("", 2, [[1], [2]]),
        ("1-2", 2, [[1, 2]]),
        ("1>2", 2, [[1], [2]]),
        ("1-2 1-3 2-3", 3, [[1, 2, 3]]),
        ("1-2 1-3", 3, [[1, 2], [3]]),
        ("1-2 2-3", 3, [[1, 2], [3]]),
        ("2-3", 3, [[2, 3], [1]]),
        ("1-2 2-3 3-4 4-1", 4, [[1, 2], [3, 4]]),
        ("1-2 2-3 2-4 3-4", 4, [[2, 3, 4], [1]]),
        ("3-4 3-5 4-5 3-1 4-2 1-2", 5, [[3, 4, 5], [1, 2]]),
        ("1-2 2-3 3-4 4-5", 5, [[1, 2], [3, 4], [5]]),
    ],
)
def test_the_best_set_first_then_the_best_of_the_rest(pairs: str, nodes: int, expected: list[list[int]]) -> None:
    assert parts(matrix(pairs, nodes)) == expected


def test_members_of_one_view_are_not_swapped_for_others_that_would_do_as_well() -> None:
    together = ViewId(5, 2)
    assert parts(matrix("1-2 2-3", 3, views={2: together, 3: together})) == [[2, 3], [1]]


def test_votes_come_before_numbers() -> None:
    assert parts(matrix("1-2 1-3 2-3 4-5", 5, votes={4: 5, 5: 5})) == [[4, 5], [1, 2, 3]]


def test_every_random_matrix_gives_cliques_of_which_the_first_is_the_best_of_all() -> None:
    rng = random.Random(6)
    for _ in range(150):
        nodes = rng.randint(1, 7)
        pairs = [
            f"{a}{rng.choice('->')}{b}" for a, b in itertools.permutations(range(1, nodes + 1), 2) if rng.random() < 0.5
        ]
        views = {node_id: ViewId(rng.randint(1, 2), 1) for node_id in range(1, nodes + 1)}
        votes = {node_id: rng.randint(0, 2) for node_id in range(1, nodes + 1)}
        vertices = matrix(" ".join(pairs), nodes, views=views, votes=votes)
        graph = edges(vertices)
        found = partition(vertices)
        assert sorted(itertools.chain(*found)) == sorted(vertices)
        assert all(b in graph[a] for part in found for a, b in itertools.permutations(part, 2))
        best = max(
            rank(chosen, vertices)
            for size in range(1, nodes + 1)
            for chosen in itertools.combinations(vertices, size)
            if all(b in graph[a] for a, b in itertools.combinations(chosen, 2))
        )
        assert rank(found[0], vertices) == best
        assert all(part_of(node_id, vertices) in found for node_id in vertices)


def test_a_large_and_nasty_matrix_is_cut_off_and_still_gives_one_answer() -> None:
    groups = [range(start, start + 3) for start in range(1, 31, 3)]  # 3**10 best sets
    everyone = [node_id for group in groups for node_id in group]
    vertices = {
        node_id: Vertex(node_id, 1, NO_VIEW, frozenset(set(everyone) - set(group)) | {node_id})
        for group in groups
        for node_id in group
    }
    first = partition(vertices)
    assert first == partition(vertices)
    assert len(first[0]) == 10


def test_who_installs_first_does_not_go_off_alone_because_the_others_rows_are_older() -> None:
    """Rows of a split in progress: 1 does not hear 2, the others hear everybody, and 1 is the first in the new view."""
    lives = {n: 10 + n for n in range(1, 5)}
    matrix = Matrix(Member(1, "n1", 11), dict.fromkeys(lives, 1), 1000)
    matrix.set_hears({3: 13, 4: 14})
    for node_id in (2, 3, 4):
        matrix.learn(Row(node_id, lives[node_id], 1, 0, ViewId(7, 1), {n: lives[n] for n in lives}))
    matrix.set_view(ViewId(8, 1))
    assert set(matrix.part()) == {1}
    matrix.expect({1: 11, 3: 13, 4: 14})
    assert set(matrix.part()) == {1, 3, 4}

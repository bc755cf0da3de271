"""What one must touch to add one more: three files at most, and everything else follows."""

from pathlib import Path

import pytest

from benchmarks.adding_one_more import add, copied, files_of, use
from benchmarks.toys import TOYS, Toy

EACH = pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.kind)


@EACH
def test_it_touches_three_files_at_most(toy: Toy) -> None:
    assert len(files_of(toy)) <= 3


@pytest.mark.long
@EACH
def test_it_works_from_the_command_line_and_on_the_page(toy: Toy, tmp_path: Path) -> None:
    project = copied(tmp_path)
    with pytest.raises(AssertionError):
        use(toy, project)  # not there yet
    add(toy, project)
    use(toy, project)

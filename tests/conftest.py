"""One thread, so that results are the same on every machine; and prepared data that several files use."""

import pytest
import torch
from tiny import write_prepared

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A prepared data set of four tiny heads (two train, one val, one test). Read only."""
    return write_prepared(tmp_path_factory.mktemp("data") / "tiny")

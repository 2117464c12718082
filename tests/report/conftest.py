import pytest
from reference_study import Study, read_reference


@pytest.fixture(scope="session")
def reference() -> Study:
    return read_reference()

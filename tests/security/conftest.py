"""Firefox is attacked once in each way; the whole sweep of it belongs to the matrix."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seen = set()
    for item in items:
        if isinstance(item, pytest.Function) and "firefox" in item.name.split("[")[-1].split("-"):
            way = (item.path, item.originalname)
            if item.get_closest_marker("matrix"):
                continue
            if way in seen:
                item.add_marker(pytest.mark.matrix)
            seen.add(way)

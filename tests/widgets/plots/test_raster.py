"""A plot that is saved as a picture has the page's own letters and paper around all of it."""

import base64

import pytest
from playwright.sync_api import Page

from conftest import StaticSite, matrix

SAVED = """async (base64) => {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const paper = [...data.slice(0, 3)];
  const at = (x, y, k) => data[4 * (y * image.width + x) + k];
  const isInk = (x, y) => paper.some((value, k) => Math.abs(value - at(x, y, k)) > 24);
  const inked = [];
  for (let y = 0; y < image.height; y++)
    for (let x = 0; x < image.width; x++) if (isInk(x, y)) inked.push([x, y]);
  const least = (places, axis) => places.reduce((low, place) => Math.min(low, place[axis]), 1e9);
  const most = (places, axis) => places.reduce((high, place) => Math.max(high, place[axis]), 0);
  const title = inked.filter(([, y]) => y < 66);
  return {
    width: image.width, height: image.height,
    left: least(inked, 0), right: most(inked, 0), bottom: most(inked, 1),
    title: most(title, 0) - least(title, 0),
  };
}"""
WIDTH = """(font) => {
  const context = document.createElement("canvas").getContext("2d");
  context.font = `600 30px ${font}`;
  return context.measureText(document.querySelector("#fig-methods .plot-title").textContent).width;
}"""


@pytest.mark.parametrize("figure", matrix(["#fig-methods", "#fig-zero-curve"], "#fig-methods"))
def test_a_png_has_the_fonts_of_the_page_and_a_margin_on_every_side(
    page: Page, static_site: StaticSite, figure: str
) -> None:
    page.goto(static_site.url)
    plot = page.locator(f"{figure} data-plot").first
    plot.scroll_into_view_if_needed()
    with page.expect_download() as download:
        plot.get_by_role("button", name="PNG", exact=True).click()
    picture = base64.b64encode(download.value.path().read_bytes()).decode()
    found = page.evaluate(SAVED, picture)
    margin = 24  # of 32 pixels: a letter may lean over its place
    assert found["left"] >= margin
    assert found["right"] <= found["width"] - margin
    assert found["bottom"] <= found["height"] - margin
    if figure == "#fig-methods":
        own = page.evaluate(WIDTH, '"Unfrozen UI"')
        other = page.evaluate(WIDTH, "serif")
        assert abs(found["title"] - own) < 6 < abs(other - own)

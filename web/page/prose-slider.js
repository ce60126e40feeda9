/**
 * `<prose-slider>`: a sentence with a number to pull. The site builder has computed what it says at every
 * stop and baked the first of them; here the words are looked up and nothing is computed.
 */

class ProseSlider extends HTMLElement {
  connectedCallback() {
    const place = this.querySelector(".slider-controls");
    if (this.data || !place) return;
    this.data = JSON.parse(this.querySelector("script.data").textContent);
    this.holes = [...this.querySelectorAll(".slid")];
    this.inputs = this.data.sliders.map((slider) => this.#input(slider));
    place.replaceChildren(...this.inputs.map((input) => input.parentElement));
    this.#show();
  }

  #input({ label, texts, start }) {
    const row = document.createElement("label");
    row.className = "slider-row";
    const name = document.createElement("span");
    name.textContent = label;
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: 0, max: texts.length - 1, step: 1 });
    input.className = "range";
    input.value = start;
    input.addEventListener("input", () => this.#show());
    row.append(name, input);
    return input;
  }

  /** Put in what is said at these stops; each control speaks its own stop and what follows. */
  #show() {
    const { sliders, sentences } = this.data;
    const at = this.inputs.map((input) => Number(input.value));
    const row = sentences[at.reduce((index, stop, i) => index * sliders[i].texts.length + stop, 0)];
    this.holes.forEach((hole, i) => (hole.textContent = row[i]));
    sliders.forEach(({ texts }, i) => {
      const own = texts[at[i]];
      const rest = row.filter((text) => text !== own);
      this.inputs[i].setAttribute("aria-valuetext", [own, ...rest].join(", "));
    });
  }
}

customElements.define("prose-slider", ProseSlider);

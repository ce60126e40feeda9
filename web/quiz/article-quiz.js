/**
 * `<article-quiz>`: questions as fieldsets of radios. As printed, each has a fold with what is to be
 * said of every option; alive, it says at once what belongs to the option that was chosen. It keeps
 * no score, and stores and sends nothing.
 */

export class ArticleQuiz extends HTMLElement {
  connectedCallback() {
    if (this.isLive) return;
    this.isLive = true;
    this.addEventListener("change", ({ target }) => tell(target));
    this.querySelectorAll(":checked").forEach(tell); // chosen before this came alive
  }
}

/** Shows what is said of one option. */
function tell(chosen) {
  const question = chosen.closest("fieldset");
  const place = [...question.querySelectorAll("input")].indexOf(chosen);
  const words = question.querySelectorAll("details li")[place];
  const said = question.querySelector(".quiz-said");
  said.replaceChildren(...words.cloneNode(true).childNodes);
  said.dataset.is = "right" in words.dataset ? "right" : "wrong";
}

/**
 * Puts another question into a fieldset that is there.
 * @param {HTMLFieldSetElement} fieldset
 * @param {{question: string, options: {text: string, why: string, right: boolean,
 *   see: [href: string, text: string]}[]}} given from `unfrozen.exercises`
 */
export function fill(fieldset, { question, options }) {
  fieldset.querySelector("legend").textContent = question;
  fieldset.querySelector("details").open = false;
  fieldset.querySelector(".quiz-said").replaceChildren();
  const [choices, words] = [fieldset.querySelectorAll("label"), fieldset.querySelectorAll("details li")];
  options.forEach(({ text, why, right, see }, index) => {
    const [radio, label] = choices[index].children;
    radio.checked = false;
    label.textContent = text;
    const [head, reason, link] = words[index].children;
    words[index].toggleAttribute("data-right", right);
    head.textContent = right ? "Right." : "Not so.";
    reason.textContent = why;
    [link.href, link.textContent] = see;
  });
}

customElements.define("article-quiz", ArticleQuiz);

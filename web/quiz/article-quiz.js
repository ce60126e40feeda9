/**
 * `<article-quiz>`: questions as fieldsets of radio buttons. As printed, each has a fold that explains
 * every option; live, it shows the explanation of the chosen option at once. It has no score, and
 * stores and sends nothing.
 */

export class ArticleQuiz extends HTMLElement {
  connectedCallback() {
    if (this.isLive) return;
    this.isLive = true;
    this.addEventListener("change", ({ target }) => showExplanation(target));
    this.querySelectorAll(":checked").forEach(showExplanation); // chosen before this came alive
  }
}

/** Shows the explanation of one option under its question. */
function showExplanation(chosen) {
  const question = chosen.closest("fieldset");
  const place = [...question.querySelectorAll("input")].indexOf(chosen);
  const explanation = question.querySelectorAll("details li")[place];
  const answer = question.querySelector(".quiz-explanation");
  answer.replaceChildren(...explanation.cloneNode(true).childNodes);
  answer.dataset.is = "right" in explanation.dataset ? "right" : "wrong";
}

/**
 * Replaces the question in an existing fieldset.
 * @param {HTMLFieldSetElement} fieldset
 * @param {{question: string, options: {text: string, why: string, right: boolean,
 *   see: [href: string, text: string]}[]}} given from `unfrozen.exercises`
 */
export function fill(fieldset, { question, options }) {
  fieldset.querySelector("legend").textContent = question;
  fieldset.querySelector("details").open = false;
  fieldset.querySelector(".quiz-explanation").replaceChildren();
  const [choices, explanations] = [fieldset.querySelectorAll("label"), fieldset.querySelectorAll("details li")];
  options.forEach(({ text, why, right, see }, index) => {
    const [radio, label] = choices[index].children;
    radio.checked = false;
    label.textContent = text;
    const [head, reason, link] = explanations[index].children;
    explanations[index].toggleAttribute("data-right", right);
    head.textContent = right ? "Right." : "Not so.";
    reason.textContent = why;
    [link.href, link.textContent] = see;
  });
}

customElements.define("article-quiz", ArticleQuiz);

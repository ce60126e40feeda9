/**
 * Shows the bibliography entry of a citation, or the meaning of a term, beside its link while the
 * pointer rests on it or it has focus. Both are copied from the page's own lists; without this script
 * the link leads there.
 */

const NOTED = 'a.cite, a[href^="#term-"]';

const GAP_PX = 6;
const EDGE_PX = 12;
const LINGER_MS = 200; // long enough to move the pointer from the link into the card

/** @param {HTMLElement} article holds the links */
export function addHoverNotes(article) {
  const card = document.createElement("div");
  card.className = "hover-card";
  card.id = "hover-card";
  card.hidden = true;
  card.setAttribute("role", "tooltip");
  document.body.append(card);

  let leaving = 0;
  let link = null; // whose card is shown

  const hide = () => {
    clearTimeout(leaving);
    card.hidden = true;
    link?.removeAttribute("aria-describedby");
    link = null;
  };
  const show = (event) => {
    const noted = event.target.closest?.(NOTED);
    if (!noted) return;
    hide();
    const target = document.getElementById(noted.hash.slice(1));
    const words = target?.querySelector(".work") ?? target?.nextElementSibling;
    if (!words) return;
    card.replaceChildren(...words.cloneNode(true).childNodes);
    card.hidden = false;
    link = noted;
    link.setAttribute("aria-describedby", card.id);
    place(card, link.getBoundingClientRect());
  };

  article.addEventListener("pointerover", show);
  article.addEventListener("focusin", show);
  article.addEventListener("focusout", hide);
  const hideSoon = () => {
    clearTimeout(leaving);
    leaving = setTimeout(hide, LINGER_MS);
  };
  article.addEventListener("pointerout", (event) => event.target.closest(NOTED) && hideSoon());
  card.addEventListener("pointerenter", () => clearTimeout(leaving));
  card.addEventListener("pointerleave", hideSoon);
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
  const follow = () => link && place(card, link.getBoundingClientRect()); // focus may have scrolled
  addEventListener("scroll", follow, { passive: true });
}

/** Puts the card under the link, or above it where there is no room, inside the window. */
function place(card, link) {
  const { offsetWidth: width, offsetHeight: height } = card;
  const left = Math.min(Math.max(EDGE_PX, link.left - width / 2), innerWidth - width - EDGE_PX);
  const below = link.bottom + GAP_PX;
  const top = below + height > innerHeight ? link.top - height - GAP_PX : below;
  card.style.left = `${left}px`;
  card.style.top = `${top}px`;
}

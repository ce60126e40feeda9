/** A button that says in words what it does. */

/**
 * @param {string} name its class
 * @param {string} text
 * @param {() => void} onClick not called while the button is aria-disabled
 * @returns {HTMLButtonElement}
 */
export function textButton(name, text, onClick) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = name;
  button.textContent = text;
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") !== "true") onClick();
  });
  return button;
}
